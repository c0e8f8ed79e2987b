// The whole way of a user in a real browser: see run. Arguments: folder of the programs, output folder, chromium.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { Relay } from "./relay.js";
import { postmark, smtp } from "./sinks.js";

const [bin, out, executablePath] = process.argv.slice(2);
const packages = createRequire(path.join(out, "package.json"));
const { chromium } = packages("playwright-core");
const axe = fs.readFileSync(packages.resolve("axe-core/axe.min.js"), "utf8");

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const LOOKS = {
  light: { viewport: { width: 1280, height: 860 }, colorScheme: "light" },
  dark: { viewport: { width: 1280, height: 860 }, colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: "light", deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};
const EMAIL = "ada@example.com";
const PASSWORD = "correct horse battery";
const NEW_PASSWORD = "another horse battery";
const DEADLINE_MS = 20000;
let failed = 0;

// ---- helpers ----

async function test(name, work) {
  try {
    await work();
    console.log(`ok - ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL - ${name}\n${error.stack}`);
  }
}

// A page that fails the test when anything is fetched from elsewhere, thrown, or against its own policy.
async function open(browser, relay, look = LOOKS.light) {
  const context = await browser.newContext(look);
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => /Content Security|Refused|TrustedHTML/.test(message.text()) && page.complaints.push(message.text()));
  page.on("request", (request) => request.url().startsWith(relay.home) || page.complaints.push(`asked for ${request.url()}`));
  await page.goto(relay.home);
  return page;
}

async function close(page) {
  const complaints = page.complaints;
  await page.context().close();
  assert.deepEqual(complaints, []);
}

async function accessible(page) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(result.violations.map((found) => `${found.id}: ${found.nodes.map((node) => node.target).join(" ")}`), []);
}

const button = (page, name) => page.getByRole("button", { name, exact: true });
const field = (page, label) => page.locator("main section:not([hidden])").getByLabel(label, { exact: true });
const heading = (page, name) => page.getByRole("heading", { name, level: 2 }).waitFor();
const alert = (page, text) => page.getByRole("alert").filter({ hasText: text }).waitFor();

async function register(page, email, password) {
  await field(page, "Email address").fill(email);
  await field(page, "Password").fill(password);
  await button(page, "Create account").click();
}

// ---- what is tested ----

async function keyboard(browser, relay) {
  const page = await open(browser, relay);
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
  const seen = [];
  for (let i = 0; i < 8; i++) {
    await page.keyboard.press("Tab");
    seen.push(await focused());
  }
  assert.deepEqual(seen, ["Skip to the form", "Register", "Verify", "New password", "register-email", "register-password", "Show",
    "Create account"]);
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "register-email", "the first wrong field has the focus");
  assert.equal(await field(page, "Email address").getAttribute("aria-invalid"), "true");
  await page.keyboard.type("nonsense");
  assert.equal(await page.locator("#register-email-error").textContent(), "That does not look like an email address.");
  await accessible(page);
  await close(page);
}

async function registers(browser, relay, sink) {
  const page = await open(browser, relay);
  await page.getByText(/Relay is up · version \d/).waitFor();
  await register(page, EMAIL, PASSWORD);
  await heading(page, "Verify your email");
  await alert(page, `We sent a code to ${EMAIL}.`);
  const letter = await sink.take();
  assert.equal(letter.to, EMAIL);
  await field(page, "Code from the email").fill("0".repeat(32));
  await button(page, "Verify email").click();
  await alert(page, "That code is wrong");
  await accessible(page);
  await page.screenshot({ path: path.join(out, "flow-wrong-code.png"), fullPage: true });
  await button(page, "send a new code").click();
  await alert(page, "We sent a new code");
  const newer = await sink.take();
  assert.notEqual(newer.code, letter.code);
  await page.goto("about:blank");
  await page.goto(newer.link);
  await heading(page, "Verify your email");
  assert.equal(await field(page, "Code from the email").inputValue(), newer.code);
  assert.equal(page.url(), `${relay.home}#verify`, "the code has left the address");
  await button(page, "Verify email").click();
  await heading(page, "You are all set");
  assert.equal(await page.locator("[data-address]").textContent(), relay.address);
  await accessible(page);
  await page.screenshot({ path: path.join(out, "flow-ready.png"), fullPage: true });
  page.complaints = page.complaints.filter((text) => !text.includes("about:blank"));
  await close(page);
}

async function works(relay, password = PASSWORD, text = "hello from the browser test") {
  const { sent, received } = await relay.pair([EMAIL, password], text);
  assert.deepEqual(sent, { code: 0, output: "", complaint: "" });
  assert.deepEqual(received, { code: 0, output: `${text}\n`, complaint: "" });
}

async function duplicate(browser, relay) {
  const page = await open(browser, relay);
  await register(page, EMAIL.toUpperCase(), NEW_PASSWORD);
  await alert(page, "There is an account with this address already");
  await close(page);
}

async function changes(browser, relay, sink) {
  const page = await open(browser, relay);
  await page.getByRole("link", { name: "New password" }).click();
  await field(page, "Email address").fill("nobody@example.com");
  await button(page, "Send code").click();
  await alert(page, "There is no account with this address.");
  await field(page, "Email address").fill(EMAIL);
  await button(page, "Send code").click();
  await heading(page, "Enter your new password");
  const letter = await sink.take();
  await page.goto("about:blank");
  await page.goto(letter.link);
  await field(page, "New password").fill("short");
  await button(page, "Change password").click();
  await page.getByText("Please use at least 8 characters.").waitFor();
  await field(page, "New password").fill(NEW_PASSWORD);
  await button(page, "Show password").click();
  assert.equal(await field(page, "New password").getAttribute("type"), "text");
  await accessible(page);
  await button(page, "Change password").click();
  await heading(page, "Your password is changed");
  page.complaints = page.complaints.filter((text) => !text.includes("about:blank"));
  await close(page);
  const [a, b] = [relay.keys("a"), relay.keys("b")];
  assert.equal((await relay.client("send", a, b, [EMAIL, PASSWORD], "x")).code, 3, "the old password is refused");
  await works(relay, NEW_PASSWORD, "again");
}

async function offline(browser, relay) {
  const page = await open(browser, relay);
  await page.getByText("Relay is up").waitFor();
  await relay.stop();
  await register(page, "offline@example.com", PASSWORD);
  await alert(page, "The relay cannot be reached.");
  await page.getByText("Relay is not reachable").waitFor();
  assert.equal(await field(page, "Email address").inputValue(), "offline@example.com", "nothing typed is lost");
  await relay.start();
  await button(page, "Create account").click();
  await heading(page, "Verify your email");
  await close(page);
}

async function bySmtp(browser) {
  const sink = await smtp();
  const relay = await new Relay(bin, ["--smtp-url", `smtp://127.0.0.1:${sink.port}`, "--mail-from", "Relay <relay@example.com>"]).start();
  try {
    const page = await open(browser, relay);
    await register(page, EMAIL, PASSWORD);
    const letter = await sink.take();
    await field(page, "Code from the email").fill(` ${letter.code.toLowerCase()} `); // as people type
    await button(page, "Verify email").click();
    await heading(page, "You are all set");
    await close(page);
    await works(relay, PASSWORD, "by SMTP");
    await relay.stop();
  } finally {
    relay.remove();
    sink.stop();
  }
}

async function singleUser(browser) {
  const relay = await new Relay(bin, [], { RELAY_USERNAME: "solo", RELAY_PASSWORD: PASSWORD }).start();
  try {
    for (const [name, look] of Object.entries(LOOKS)) {
      const page = await open(browser, relay, look);
      await page.getByText("This relay serves one user").waitFor();
      await page.getByText(/Relay is up/).waitFor();
      assert.equal(await page.locator("[data-address]").textContent(), relay.address);
      await accessible(page);
      await page.screenshot({ path: path.join(out, `single-${name}.png`), fullPage: true });
      await close(page);
    }
    await relay.stop();
  } finally {
    relay.remove();
  }
}

async function pictures(browser, relay) {
  for (const [name, look] of Object.entries(LOOKS)) {
    const page = await open(browser, relay, look);
    await page.getByText(/Relay is up/).waitFor();
    for (const view of ["register", "verify", "forgot", "reset", "ready"]) {
      await page.goto(`${relay.home}#${view}`);
      await page.locator(`#view-${view}`).waitFor();
      await accessible(page);
      await page.screenshot({ path: path.join(out, `${view}-${name}.png`), fullPage: true });
    }
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing is wider than the screen");
    await close(page);
  }
}

// ---- main ----

const sink = await postmark();
const relay = await new Relay(bin, ["--mail-from", "relay@example.com"],
  { POSTMARK_API_KEY: "key", POSTMARK_API_URL: `http://127.0.0.1:${sink.port}/email` }).start();
const browser = await chromium.launch({ executablePath, args: FLAGS, timeout: 60000 });
try {
  await test("the keyboard reaches everything in order, and wrong fields are told", () => keyboard(browser, relay));
  await test("register, a wrong code, a new code, the letter's link, verified", () => registers(browser, relay, sink));
  await test("the account works with relayclient", () => works(relay));
  await test("a second account with the address is refused", () => duplicate(browser, relay));
  await test("forgot, change, the old password is refused", () => changes(browser, relay, sink));
  await test("every view in light, dark and on a phone, without accessibility violations", () => pictures(browser, relay));
  await test("the relay stops and comes back", () => offline(browser, relay));
  await test("letters by SMTP", () => bySmtp(browser));
  await test("single-user mode explains itself", () => singleUser(browser));
  await test("the relay ends cleanly", () => relay.stop());
} finally {
  await browser.close();
  relay.remove();
  sink.stop();
}
process.exit(failed === 0 ? 0 : 1);
