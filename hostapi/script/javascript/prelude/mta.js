// The module "mta", as a policy in JavaScript sees it. The functions of host are those of the contract
// (hostapi/abi/README.md): texts and Uint8Arrays stand for a pointer with a length, a buffer is the result, and a
// number below 0 is an error code.
const host = globalThis.host;
delete globalThis.host;

const codes = {
  "-1": ["E_INVAL", "malformed"], "-2": ["E_NOT_FOUND", "there is no such thing"],
  "-3": ["E_DENIED", "not granted; the configuration's [plugin.grant] decides"], "-4": ["E_STATE", "not possible in this hook"],
  "-5": ["E_LIMIT", "a quota is used up"], "-6": ["E_TIMEOUT", "the server could not answer in time"],
  "-7": ["E_UNSUPPORTED", "not supported"], "-8": ["E_UNAVAIL", "a temporary fault of the server"],
  "-9": ["E_CONFLICT", "changed meanwhile, or the field may occur once"], "-10": ["E_TOO_LARGE", "too large"],
  "-11": ["E_BAD_SIG", "the signature does not verify"], "-20": ["E_NXDOMAIN", "no such domain"],
  "-21": ["E_SERVFAIL", "name server failure"], "-22": ["E_BOGUS", "DNSSEC validation failed"],
};

export class MtaError extends Error {
  constructor(number, what) {
    const [code, meaning] = codes[number] ?? ["E_OTHER", `error ${number}`];
    super(`${what}: ${code}: ${meaning}`);
    this.code = code;
    this.number = number;
  }
}
MtaError.prototype.name = "MtaError";

// A mistake in the configuration needs no place in the script.
class ConfigError extends Error {}

const check = (n, what) => {
  if (n < 0) throw new MtaError(n, what);
  return n;
};
const raise = (n, what) => { throw new MtaError(n, what); };
const string = (v) => (typeof v === "string" ? v : String(v));
const data = (v) => (typeof v === "string" || v instanceof Uint8Array ? v : String(v));
// What cannot be read is "" or 0.
const { text: get, amount: num, item, item_amount: itemNum } = host;
const set = (field, v, what) => { check(host.set(field, string(v)), what); };
// What is no number would be 0 for the server: no limit, no expiry, 1970.
const whole = (v, what) => {
  const n = Math.round(v);
  if (!Number.isSafeInteger(n)) throw new TypeError(`${what}: ${show(v)} is no whole number`);
  return n;
};
const setNum = (field, v, what) => { check(host.set_num(field, whole(v, what)), what); };
const found = (v) => (typeof v === "number" ? undefined : v);

// Verdicts.
export const CONTINUE = 0, ACCEPT = 1, REJECT = 2, DEFER = 3, DISCARD = 4, HOLD = 5, DROP = 6;
export const detachTransaction = (verdict) => verdict | 1 << 8;
export const detachSession = (verdict) => verdict | 2 << 8;
export const silently = (verdict) => verdict | 4 << 8;

const enhancedCodes = new Map([["", 0]]);
const enhancedCode = (s) => {
  let n = enhancedCodes.get(s);
  if (n === undefined) {
    const m = /^([245])\.(\d{1,3})\.(\d{1,3})$/.exec(s);
    if (!m) throw new TypeError(`${show(s)} is no enhanced status code, such as "5.7.1"`);
    n = m[1] << 20 | m[2] << 10 | m[3];
    if (enhancedCodes.size < 100) enhancedCodes.set(s, n);
  }
  return n;
};
// What codes an action has, and the usual one.
const suits = { [ACCEPT]: "200 to 299", [REJECT]: "500 to 599, without 521", [DEFER]: "400 to 499", [DROP]: "421 or 554" };
const usual = { [ACCEPT]: 250, [REJECT]: 550, [DEFER]: 451, [DROP]: 421 };
const fits = (action, c) => (c | 0) === c && (
  action === REJECT ? c >= 500 && c < 600 && c !== 521 : action === DEFER ? c >= 400 && c < 500 :
  action === ACCEPT ? c >= 200 && c < 300 : c === 421 || c === 554);
let made = false; // the hook made a verdict, which it must return
const answer = (action, code, enhanced, text) => {
  made = true;
  if (code !== 0 && !fits(action, code)) throw new TypeError(`the code ${show(code)} does not suit this verdict: it has ${suits[action]}`);
  if (enhanced !== "" || text !== "" || action === ACCEPT && code !== 0) {
    let e = 0;
    if (enhanced !== "") {
      e = enhancedCode(enhanced);
      if (e >> 20 !== ((code || usual[action]) / 100 | 0)) throw new TypeError(`${enhanced} does not suit the code ${code || usual[action]}`);
    }
    // The server takes 8 KiB. A text that a message made longer must not be lost as a whole.
    const t = string(text);
    if (host.reply(code, e, t) === -10) host.reply(code, e, t.slice(0, 2700));
  }
  return action === ACCEPT ? action : action | code << 16;
};
export const reject = (code = 0, enhanced = "", text = "") => answer(REJECT, code, enhanced, text);
export const defer = (code = 0, enhanced = "", text = "") => answer(DEFER, code, enhanced, text);
export const drop = (code = 0, enhanced = "", text = "") => answer(DROP, code, enhanced, text);
export const accept = (code = 0, enhanced = "", text = "") => answer(ACCEPT, code, enhanced, text);

export class Recipient {
  #i;
  constructor(i) { this.#i = i; }
  get path() { return item(1, this.#i, 1); }
  set path(v) { check(host.list_set(1, this.#i, 1, string(v)), "set a recipient's path"); }
  get local() { return item(1, this.#i, 4); }
  get domain() { return item(1, this.#i, 5); }
  get original() { return item(1, this.#i, 6); }
  get orcpt() { return item(1, this.#i, 2); }
  get notify() { return itemNum(1, this.#i, 3); }
  get status() { return itemNum(1, this.#i, 7); }
  remove() { check(host.list_remove(1, this.#i), "remove a recipient"); }
  toString() { return this.path; }
}

const field = (i, f) => item(2, i, f);
const deleteFrom = (i, name) => {
  while ((i = host.list_find(2, i, name)) >= 0) check(host.list_remove(2, i), `delete the field ${name}`);
  if (i !== -2) raise(i, `delete the field ${name}`);
};
const insertField = (i, name, value) => { check(host.list_insert(2, i, `${name}: ${value}`), `add the field ${name}`); };

class Headers {
  get length() { return Math.max(host.list_len(2), 0); }
  get(name) {
    const i = host.list_find(2, 0, string(name));
    return i < 0 ? "" : field(i, 2);
  }
  has(name) { return host.list_find(2, 0, string(name)) >= 0; }
  getAll(name) {
    const list = [];
    for (let i = -1; (i = host.list_find(2, i + 1, string(name))) >= 0;) list.push(field(i, 2));
    return list;
  }
  *[Symbol.iterator]() {
    for (let i = 0; i < this.length; i++) yield [field(i, 1), field(i, 2)];
  }
  get raw() { return get(0x0503); }
  append(name, value) { insertField(-1, name, value); }
  prepend(name, value) { insertField(0, name, value); }
  set(name, value) {
    const i = host.list_find(2, 0, string(name));
    if (i < 0) return insertField(-1, name, value);
    check(host.list_set(2, i, 2, string(value)), `set the field ${name}`);
    deleteFrom(i + 1, string(name));
  }
  delete(name) { deleteFrom(0, string(name)); }
}

class Body {
  get size() { return num(0x0502); }
  read(offset = 0, length = 65536) {
    const v = host.body_read(offset, Math.min(Math.max(length, 0), 1 << 20), true);
    return typeof v === "number" ? raise(v, "read the body") : v;
  }
  *chunks(length = 65536) {
    for (let at = 0, b; (b = this.read(at, length)).length > 0; at += b.length) yield b;
  }
  text(limit = 1 << 20) {
    const all = new Uint8Array(Math.min(this.size, limit));
    let at = 0;
    for (let b; at < all.length && (b = this.read(at, all.length - at)).length > 0; at += b.length) all.set(b, at);
    return text(all.subarray(0, at));
  }
  write(octets) { check(host.body_write(data(octets)), "write the body"); }
  splice(offset, length) { check(host.body_splice(offset, length), "keep a part of the body"); }
}

class Attributes {
  #scope;
  constructor(scope) { this.#scope = scope; }
  get(key) { return found(host.attr_get(this.#scope, string(key))); }
  has(key) { return this.get(key) !== undefined; }
  set(key, value) {
    check(host.attr_set(this.#scope, string(key), data(value)), `set the attribute ${key}`);
    return this;
  }
  delete(key) {
    const n = host.attr_del(this.#scope, string(key));
    return n === -2 ? false : check(n, `delete the attribute ${key}`) >= 0;
  }
}

const headers = Object.freeze(new Headers()), body = Object.freeze(new Body());
const attrs = Object.freeze({
  session: new Attributes(0), transaction: new Attributes(1), message: new Attributes(2), recipient: new Attributes(3),
});

// One object for all calls: it holds nothing, each property asks the server.
class Session {
  get remoteIp() { return get(0x0101); }
  get remotePort() { return num(0x0102); }
  get localIp() { return get(0x0103); }
  get localPort() { return num(0x0104); }
  get listener() { return get(0x0105); }
  get ptr() { return get(0x0106); }
  get id() { return get(0x0107); }
  get connectionsFromIp() { return num(0x0108); }
  get proxyIp() { return get(0x0109); }
  get banner() { return get(0x010a); }
  set banner(v) { set(0x010a, v, "set the banner"); }
  get helo() { return get(0x0201); }
  get esmtp() { return num(0x0202) > 0; }
  get tls() { return num(0x0203) > 0; }
  get tlsVersion() { return num(0x0204); }
  get tlsCipher() { return get(0x0205); }
  get tlsServerName() { return get(0x0206); }
  get clientCertificate() { return get(0x0207); }
  get extensions() { return get(0x0208).split("\n").filter((line) => line !== ""); }
  set extensions(list) { set(0x0208, Array.isArray(list) ? list.join("\n") : list, "set the extensions"); }
  get authMechanism() { return get(0x0301); }
  get authUser() { return get(0x0302); }
  get authPassword() {
    const v = host.get(0x0303);
    return typeof v === "number" ? raise(v, "read the password") : v;
  }
  get authId() { return get(0x0304); }
  set authId(v) { set(0x0304, v, "set the identity"); }
  setScram(keys) { set(0x0305, keys, "set the keys"); }
  get certificateNames() { return get(0x0209).split("\n").filter((line) => line !== ""); }
  get transactionId() { return get(0x0401); }
  get mailFrom() { return get(0x0402); }
  set mailFrom(v) { set(0x0402, v, "set the reverse-path"); }
  get declaredSize() { return num(0x0403); }
  get bodyType() { return num(0x0404); }
  get smtpUtf8() { return num(0x0405) > 0; }
  get requireTls() { return num(0x0406) > 0; }
  get dsnReturn() { return num(0x0407); }
  get envelopeId() { return get(0x0408); }
  get sizeLimit() { return num(0x040b); }
  set sizeLimit(v) { setNum(0x040b, v, "set the size limit"); }
  get verb() { return get(0x040c); }
  get argument() { return get(0x040d); }
  get reason() { return get(0x040e); }
  get rcpt() { return new Recipient(host.get_num(0x040a)); }
  get rcptCount() { return Math.max(host.list_len(1), 0); }
  get rcpts() { return Array.from({ length: this.rcptCount }, (_, i) => new Recipient(i)); }
  addRcpt(path) { check(host.list_insert(1, -1, string(path)), "add a recipient"); }
  removeRcpts(unwanted) {
    // From the end: removing one moves those behind it.
    for (const r of this.rcpts.reverse()) if (unwanted(r)) r.remove();
  }
  get headers() { return headers; }
  get body() { return body; }
  get messageSize() { return num(0x0501); }
  get messageId() { return get(0x0506); }
  get receivedCount() { return num(0x0505); }
  get tenant() { return get(0x0507); }
  get spf() { return get(0x0508); }
  get dkim() { return get(0x0509); }
  get dmarc() { return get(0x050a); }
  get arc() { return get(0x050b); }
  get queueId() { return get(0x0601); }
  get domain() { return get(0x0602); }
  get attempt() { return num(0x0603); }
  get queued() { return num(0x0604); }
  get lastCode() { return num(0x0605); }
  get lastText() { return get(0x0606); }
  get lastMx() { return get(0x0607); }
  get attempts() {
    return Array.from({ length: Math.max(host.list_len(4), 0) }, (_, i) => ({
      time: itemNum(4, i, 1), relay: item(4, i, 2), code: itemNum(4, i, 3), text: item(4, i, 4),
    }));
  }
  get nextHop() { return get(0x060d); }
  set nextHop(v) { set(0x060d, v, "set the next hop"); }
  get nextHops() {
    return Array.from({ length: Math.max(host.list_len(3), 0) }, (_, i) => ({
      host: item(3, i, 1), port: itemNum(3, i, 2),
    }));
  }
  addNextHop(hop) { check(host.list_insert(3, -1, string(hop)), "add a next hop"); }
  get tlsPolicy() { return num(0x060c); }
  set tlsPolicy(v) { setNum(0x060c, v, "set the TLS policy"); }
  get ehloName() { return get(0x060e); }
  set ehloName(v) { set(0x060e, v, "set the EHLO name"); }
  get sourceIp() { return get(0x060f); }
  set sourceIp(v) { set(0x060f, v, "set the source address"); }
  get pool() { return get(0x060b); }
  set pool(v) { set(0x060b, v, "set the pool"); }
  get priority() { return num(0x060a); }
  set priority(v) { setNum(0x060a, v, "set the priority"); }
  get nextRetry() { return num(0x0608); }
  set nextRetry(v) { setNum(0x0608, v, "set the next retry"); }
  get expire() { return num(0x0609); }
  set expire(v) { setNum(0x0609, v, "set the expiry"); }
  get plugin() { return get(0x0701); }
  get generation() { return get(0x0702); }
  get shadow() { return num(0x0708) > 0; }
  get attrs() { return attrs; }
  accept(code = 0, enhanced = "", text = "") { return answer(ACCEPT, code, enhanced, text); }
  reject(code = 0, enhanced = "", text = "") { return answer(REJECT, code, enhanced, text); }
  defer(code = 0, enhanced = "", text = "") { return answer(DEFER, code, enhanced, text); }
  drop(code = 0, enhanced = "", text = "") { return answer(DROP, code, enhanced, text); }
  discard() { return DISCARD; }
  hold() { return HOLD; }
}
const session = Object.freeze(new Session()); // a misspelt name is not set in silence

class Config {
  #all;
  get all() {
    if (this.#all === undefined) {
      const v = host.config("");
      this.#all = typeof v === "number" || v === "" ? {} : JSON.parse(v);
    }
    return this.#all;
  }
  has(key) { return Object.hasOwn(this.all, key); }
  get(key) { return this.has(key) ? this.all[key] : undefined; }
  #typed(key, fallback, good, want) {
    const v = this.get(key);
    if (v === undefined) return fallback;
    if (!good(v)) throw new ConfigError(`config: ${key} must be ${want}`);
    return v;
  }
  string(key, fallback = "") { return this.#typed(key, fallback, (v) => typeof v === "string", "a string"); }
  strings(key, fallback = []) {
    return this.#typed(key, fallback, (v) => Array.isArray(v) && v.every((e) => typeof e === "string"), "a list of strings");
  }
  number(key, fallback = 0) { return this.#typed(key, fallback, (v) => typeof v === "number", "a number"); }
  int(key, fallback = 0) { return this.#typed(key, fallback, Number.isSafeInteger, "a whole number"); }
  bool(key, fallback = false) { return this.#typed(key, fallback, (v) => typeof v === "boolean", "true or false"); }
}
export const config = new Config();

export const secret = (name) => {
  const v = host.secret(string(name));
  return typeof v === "number" ? raise(v, `read the secret ${name}`) : v;
};
const features = {
  envelopeWrite: 1, headersRead: 2, headersWrite: 3, bodyRead: 4, bodyWrite: 5, kv: 16, dns: 17, http: 18, crypto: 19, table: 20,
  event: 21,
};
export const feature = (name) => host.feature(features[name] ?? 0) === 1;
export const random = (length) => {
  const v = host.random(length, true);
  return typeof v === "number" ? raise(v, "draw random octets") : v;
};
export const monotonic = () => host.mono_ns() / 1e6;
export const text = (octets) => host.decode(octets);
export const octets = (text) => host.encode(string(text));

const metric = (kind, name) => check(host.metric_def(kind, name), `define the metric ${name}`);
export const counter = (name) => {
  const id = metric(0, name);
  return { add(n = 1) { host.metric_add(id, n); } };
};
export const gauge = (name) => {
  const id = metric(1, name);
  return { set(n) { host.metric_add(id, n); } };
};
export const histogram = (name) => {
  const id = metric(2, name);
  return { observe(n) { host.metric_add(id, n); } };
};

// Never throws: what cannot be shown must not fail the hook, or hide what did.
const show = (v) => {
  try {
    if (typeof v === "string") return v;
    if (v instanceof Error) return `${v.name}: ${v.message}`;
    if (typeof v === "object" && v !== null) {
      try {
        return JSON.stringify(v) ?? String(v);
      } catch {
        // a cycle, a BigInt
      }
    }
    return String(v);
  } catch {
    return `[${typeof v}]`;
  }
};
const write = (level) => (...values) => {
  if (host.log_level() <= level) host.log(level, values.map(show).join(" "));
};
globalThis.console = Object.freeze({ debug: write(0), log: write(1), info: write(1), warn: write(2), error: write(3) });

// Instances begin as copies of one that has initialised itself: a seed of its own would give all of them the same numbers.
Math.random = () => {
  const b = host.random(7, true);
  return ((b[0] & 31) * 2 ** 48 + b[1] * 2 ** 40 + b[2] * 2 ** 32 + b[3] * 2 ** 24 + b[4] * 2 ** 16 + b[5] * 2 ** 8 + b[6]) / 2 ** 53;
};

// The first place of a stack that is in the policy: "policy.js:3:7". If there is none, the name of the script.
const place = (e) => {
  try {
    for (const line of String(e.stack ?? "").split("\n")) {
      const m = /^\s*at (?:.*\()?([^()]+:\d+:\d+)\)?$/.exec(line);
      if (m && !m[1].startsWith("mta:")) return m[1];
    }
  } catch {
    // an exception that throws exceptions
  }
  return host.script;
};
const oneLine = (s) => s.slice(0, 4000).replace(/[\r\n]+/g, " ") + "\n";
// What a hook is called through: a return that was forgotten lets mail in.
const forgot = (name) => new TypeError(`${name} made a verdict and did not return it: write return s.reject(...)`);
const passed = (v) => {
  if (v === false) throw new Error("onSelftest returned false");
};
const caller = (name, f) => {
  const returned = name === "onSelftest" ? passed : (v) => {
    if (made && v === undefined) throw forgot(name);
    return v;
  };
  return (s) => {
    made = false;
    const v = f(s);
    return typeof v === "object" && v instanceof Promise ? v.then(returned) : returned(v);
  };
};
// Three functions for what calls the hooks: what to log of an exception, the hooks' argument, and the beginning.
host.boot((e) => {
  if (e instanceof ConfigError) return oneLine(e.message);
  if (!(e instanceof Error)) return oneLine(`${host.script}: thrown: ${show(e)}`);
  return oneLine(`${place(e)}: ${show(e)}`);
}, session, (policy) => {
  const hooks = host.hooks.split(" "), subscribed = host.subscribed.split(" ").filter((name) => name !== "");
  const refuse = (why) => { throw new ConfigError(`${host.script}: ${why}`); };
  for (const name of Object.keys(policy)) {
    if (/^on[A-Z]/.test(name) && !hooks.includes(name)) refuse(`there is no hook ${name}; there are ${hooks.join(", ")}`);
  }
  for (const name of hooks) {
    const f = policy[name], at = subscribed.indexOf(name);
    if (f === undefined && at < 0) continue;
    if (typeof f !== "function") refuse(`${name} must be a function: export function ${name}(s) { ... }`);
    if (at < 0) refuse(`${name} is exported in a way that is not seen before the script runs: write export function ${name}(s) { ... }`);
    host.hook(at, caller(name, f));
  }
  if (subscribed.length === 0) refuse("it exports no hook: write export function onRcpt(s) { ... }");
  if (policy.init !== undefined) {
    if (typeof policy.init !== "function") refuse("init must be a function: export function init(config) { ... }");
    return policy.init(config);
  }
});
