// The programs under test: a relay in a temporary directory on a free port, and relayclient.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const DEADLINE_MS = 30000;

function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

function environment(extra) {
  const kept = Object.entries(process.env).filter(([name]) => name === "SHARDRELAY_CHECK" || !/^(SHARD)?RELAY|^POSTMARK/.test(name));
  return { ...Object.fromEntries(kept), ...extra };
}

function ended(child) {
  return child.exitCode !== null ? Promise.resolve(child.exitCode) : new Promise((resolve) => child.once("exit", resolve));
}

export class Relay {
  constructor(bin, options = [], env = {}) {
    Object.assign(this, { bin, options, env });
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), "shardrelay-browser-"));
  }

  async start() {
    this.port ??= await freePort();
    this.log = "";
    const home = `http://127.0.0.1:${this.port}`;
    const single = "RELAY_USERNAME" in this.env;
    const argv = [...(single ? [] : ["-d", path.join(this.folder, "relay.sqlite")]), "server", "-p", String(this.port), "--shards", "2"];
    const more = single ? [] : ["--allow-empty", "--public-url", home];
    const options = { env: environment(this.env), stdio: "pipe" };
    this.child = spawn(path.join(this.bin, "shardrelay"), [...argv, ...more, ...this.options], options);
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (text) => (this.log += text));
    for (const deadline = Date.now() + DEADLINE_MS; !this.log.includes("\nready\n"); await pause(20))
      if (this.child.exitCode !== null || Date.now() > deadline) throw new Error(`the relay does not start\n${this.log}`);
    this.home = `${home}/v1/`;
    this.address = `${home}/v1/relay`;
    return this;
  }

  async stop() {
    this.child.kill("SIGTERM");
    const code = await ended(this.child);
    if (code !== 0 || /Sanitizer|check failed/.test(this.log)) throw new Error(`the relay ended with ${code}\n${this.log}`);
  }

  remove() {
    if (this.child.exitCode === null) this.child.kill("SIGKILL");
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  // Keys in a folder of their own; returns the folder and the public key.
  keys(name) {
    const folder = path.join(this.folder, name);
    fs.mkdirSync(folder, { recursive: true });
    if (!fs.existsSync(path.join(folder, "relay.key.public"))) spawnSync(path.join(this.bin, "relayclient"), ["genkeys"], { cwd: folder });
    return { folder, key: fs.readFileSync(path.join(folder, "relay.key.public"), "utf8").trim() };
  }

  client(command, from, to, [user, password], input = "") {
    const argv = [command, "-u", user, "--timeout", "15s", this.address, to.key];
    const child = spawn(path.join(this.bin, "relayclient"), argv, { cwd: from.folder, env: environment({ RELAY_PASSWORD: password }) });
    let output = "", complaint = "";
    child.stdout.on("data", (text) => (output += text));
    child.stderr.on("data", (text) => (complaint += text));
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    // "exit" may come before the last data.
    return new Promise((resolve) => child.once("close", (code) => resolve({ code, output, complaint })));
  }

  // What came of a text between a pair of devices of this account, for both: {code, output, complaint}.
  async pair(account, text) {
    const [a, b] = [this.keys("a"), this.keys("b")];
    const received = this.client("receive", b, a, account);
    const sent = await this.client("send", a, b, account, text);
    return { sent, received: await received };
  }
}
