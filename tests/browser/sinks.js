// Mail servers that catch letters: Postmark's HTTP form and SMTP, each on a free port of 127.0.0.1.
import http from "node:http";
import net from "node:net";

const DEADLINE_MS = 20000;

class Letters {
  #arrived = [];
  #waiting = [];

  put(letter) {
    const taker = this.#waiting.shift();
    if (taker) taker(letter);
    else this.#arrived.push(letter);
  }

  // The next letter, as {to, text, code, link}.
  take() {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no letter came")), DEADLINE_MS);
      this.#waiting.push((letter) => {
        clearTimeout(timer);
        resolve(letter);
      });
    });
  }
}

function letter(to, text) {
  const code = text.match(/^[0-9A-F]{32}$/m);
  const link = text.match(/^https?:\/\/\S+$/m);
  return { to, text, code: code && code[0], link: link && link[0] };
}

function listening(server) {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

export async function postmark() {
  const letters = new Letters();
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = JSON.parse(Buffer.concat(parts).toString());
    letters.put(letter(body.To, body.TextBody));
    response.end("{}");
  });
  return { port: await listening(server), take: () => letters.take(), stop: () => server.close() };
}

function smtpSession(socket, letters) {
  let rest = "";
  let to = "";
  let data = null;
  socket.setEncoding("utf8");
  socket.write("220 sink\r\n");
  const onLine = (line) => {
    if (data !== null && line !== ".") return void data.push(line.replace(/^\./, ""));
    if (data !== null) {
      letters.put(letter(to, data.join("\n")));
      data = null;
      return void socket.write("250 taken\r\n");
    }
    const rcpt = line.match(/^RCPT TO:<(.*)>/i);
    if (rcpt) to = rcpt[1];
    if (/^DATA/i.test(line)) data = [];
    socket.write(data !== null ? "354 go on\r\n" : /^QUIT/i.test(line) ? "221 bye\r\n" : "250 ok\r\n");
  };
  socket.on("data", (text) => {
    const lines = (rest + text).split("\r\n");
    rest = lines.pop();
    lines.forEach(onLine);
  });
  socket.on("error", () => socket.destroy());
}

export async function smtp() {
  const letters = new Letters();
  const server = net.createServer((socket) => smtpSession(socket, letters));
  return { port: await listening(server), take: () => letters.take(), stop: () => server.close() };
}
