// The page: views by address (#register, #verify, ...), one WebSocket per request to auth, a status line. Text goes in as text only.
"use strict";

const ANSWER_TIMEOUT_MS = 60000;
const STATUS_INTERVAL_MS = 30000;
const PASSWORD_CHARS_MIN = 8;
const UNREACHABLE = "The relay cannot be reached. Check your connection and try again.";

const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const homeTitle = document.title;
let known = ""; // the address that the last form was about

// ---- talking to the relay ----

class Refusal extends Error {}

function call(command, args) {
  return new Promise((resolve, reject) => {
    const address = new URL("auth", location.origin + location.pathname);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    const end = (settle, value) => {
      clearTimeout(timer);
      socket.onclose = socket.onmessage = null;
      socket.close();
      settle(value);
    };
    const timer = setTimeout(() => end(reject, new Refusal(UNREACHABLE)), ANSWER_TIMEOUT_MS);
    socket.onopen = () => socket.send(JSON.stringify({ id: 1, command, args }));
    socket.onclose = () => end(reject, new Refusal(UNREACHABLE));
    socket.onmessage = (event) => {
      const answer = JSON.parse(event.data);
      if (answer.error === undefined) end(resolve, answer.response);
      else end(reject, Object.assign(new Refusal(answer.error), { retryAfter: answer.retryAfter }));
    };
  });
}

function explain(error, texts) {
  if (!(error instanceof Refusal)) return "Something went wrong on this page. Please reload it and try again.";
  const wait = error.retryAfter > 90 ? `${Math.ceil(error.retryAfter / 60)} minutes` : `${error.retryAfter} seconds`;
  if (error.message === "Too many requests") return `That was too often. Please try again in ${wait}.`;
  const common = {
    "Failed to send email": "The email could not be sent. Please try again later.",
    "Not an email address": "That does not look like an email address.",
    "Unexpected error": "The relay could not do that. Please try again later.",
    "Relay is busy, try again": "The relay is busy. Please try again in a moment.",
  };
  return texts[error.message] || common[error.message] || error.message;
}

// ---- forms ----

function say(form, text, bad) {
  const message = form.querySelector(".message");
  message.textContent = text;
  message.hidden = text === "";
  message.classList.toggle("bad", Boolean(bad));
}

function complaint(input) {
  if (input.hidden) return "";
  const value = input.value.trim();
  if (input.type === "email" && value === "") return "Please enter your email address.";
  if (input.type === "email" && input.validity.typeMismatch) return "That does not look like an email address.";
  if (input.name === "code" && value === "") return "Please enter the code from the email.";
  if (input.name === "password" && [...input.value].length < PASSWORD_CHARS_MIN) return "Please use at least 8 characters.";
  return "";
}

function mark(input, text) {
  const place = byId(`${input.id}-error`);
  if (place) place.textContent = text;
  if (text) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

// The first wrong field gets the focus; null when all are right.
function check(form, names) {
  let first = null;
  for (const input of form.querySelectorAll("input")) {
    const text = names && !names.includes(input.name) ? "" : complaint(input);
    mark(input, text);
    if (text && !first) first = input;
  }
  if (first) first.focus();
  return first;
}

async function busy(form, work) {
  const button = form.querySelector(".main");
  if (button.getAttribute("aria-disabled") === "true") return;
  const label = button.textContent;
  button.setAttribute("aria-disabled", "true");
  button.textContent = button.dataset.busy;
  say(form, "");
  try {
    await work();
  } finally {
    button.removeAttribute("aria-disabled");
    button.textContent = label;
  }
}

const valueOf = (form, name) => form.elements[name].value.trim();
const codeOf = (form) => valueOf(form, "code").replace(/[^0-9a-zA-Z]/g, "").toUpperCase();

function ready(title, text) {
  byId("ready-title").textContent = title;
  byId("ready-text").textContent = text;
  for (const part of ["badge", "text", "next"]) byId(`ready-${part}`).hidden = false;
  go("ready");
}

const submit = {
  async register(form) {
    known = valueOf(form, "email");
    await call("register", { email: known, password: form.elements.password.value });
    form.reset();
    go("verify", `We sent a code to ${known}.`);
  },
  async verify(form) {
    known = valueOf(form, "email");
    if (!(await call("verify", { email: known, code: codeOf(form) }))) throw new Refusal("wrong code");
    form.reset();
    ready("You are all set", `The address ${known} is verified, and your account is ready.`);
  },
  async forgot(form) {
    known = valueOf(form, "email");
    await call("resetPassword", { email: known });
    form.reset();
    go("reset", `We sent a code to ${known}.`);
  },
  async reset(form) {
    await call("updatePassword", { token: codeOf(form), new_password: form.elements.password.value });
    form.reset();
    ready("Your password is changed", "Sign in with the new one on each of your devices.");
  },
};

const refusals = {
  register: { "Account already exists": "There is an account with this address already. You can choose a new password for it." },
  verify: {
    "wrong code": "That code is wrong or no longer good. Look for the newest email, or have a new code sent.",
    "Not found": "There is no account with this address.",
  },
  forgot: { "Not found": "There is no account with this address." },
  reset: { "Not found": "That code is wrong or no longer good. Have a new one sent." },
};

function bindForm(form) {
  const name = form.dataset.form;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (check(form)) return;
    busy(form, async () => {
      try {
        await submit[name](form);
      } catch (error) {
        say(form, explain(error, refusals[name]), true);
        if (error.message === UNREACHABLE) askStatus();
      }
    });
  });
  for (const input of form.querySelectorAll("input"))
    input.addEventListener("input", () => input.hasAttribute("aria-invalid") && mark(input, complaint(input)));
}

function bindResend(button) {
  const form = button.form;
  button.addEventListener("click", () => {
    if (check(form, ["email"])) return;
    busy(form, async () => {
      try {
        known = valueOf(form, "email");
        await call("sendVerify", { email: known });
        say(form, `We sent a new code to ${known}.`);
      } catch (error) {
        say(form, explain(error, refusals.verify), true);
      }
    });
  });
}

// ---- views ----

function show(name, parameters, message) {
  const view = byId(`view-${name}`);
  for (const other of all("main > section")) other.hidden = other !== view;
  for (const tab of all(".tabs a")) {
    if (tab.hash === `#${view.dataset.tab}`) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  const form = view.querySelector("form");
  if (form) {
    const email = form.elements.email;
    if (email) email.value = parameters.get("email") || email.value || known;
    if (form.elements.code && parameters.get("code")) form.elements.code.value = parameters.get("code");
    for (const input of form.querySelectorAll("input")) mark(input, "");
    say(form, message);
  }
  const title = view.querySelector("h2");
  document.title = `${title.textContent} · ${homeTitle}`;
  return title;
}

let pending = ""; // said by the view that comes next

function go(name, message = "") {
  pending = message;
  if (location.hash === `#${name}`) route();
  else location.hash = name;
}

function route(event) {
  const [name, query] = location.hash.slice(1).split("?");
  if (name === "main") return;
  const parameters = new URLSearchParams(query || "");
  const message = pending;
  pending = "";
  const title = show(byId(`view-${name}`) ? name : "register", parameters, message);
  if (query) history.replaceState(null, "", `#${name}`); // a code does not stay in the history
  if (event !== undefined || message) title.focus();
}

// ---- the rest of the page ----

async function askStatus() {
  const line = byId("status");
  let version = null;
  try {
    const answer = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (answer.ok) version = (await answer.json()).version;
  } catch {
    version = null;
  }
  const text = version === null ? "Relay is not reachable" : `Relay is up · version ${version}`;
  if (line.textContent !== text) line.textContent = text; // said aloud only when it changes
  line.parentElement.classList.toggle("up", version !== null);
  line.parentElement.classList.toggle("down", version === null);
}

function bindReveal(button) {
  const input = byId(button.dataset.reveal);
  button.addEventListener("click", () => {
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.textContent = shown ? "Hide" : "Show";
    button.setAttribute("aria-label", `${button.textContent} password`);
  });
}

function bindCopy(button) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector("[data-address]").textContent);
    button.textContent = "Copied";
    document.querySelector("[data-copied]").textContent = "The address is copied.";
  });
}

for (const place of all("[data-address]")) {
  const parts = new URL("relay", location.origin + location.pathname).href.split("/v1/"); // a long one breaks between these
  place.replaceChildren(parts[0], document.createElement("wbr"), `/v1/${parts[1]}`);
}
all("form").forEach(bindForm);
all("[data-resend]").forEach(bindResend);
all("[data-reveal]").forEach(bindReveal);
all("[data-copy]").forEach(bindCopy);
askStatus();
setInterval(() => document.hidden || askStatus(), STATUS_INTERVAL_MS);
if (byId("view-register")) {
  window.addEventListener("hashchange", route);
  route();
}
