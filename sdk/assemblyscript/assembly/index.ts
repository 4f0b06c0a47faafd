/**
 * What the author of a plugin reads: the facts of a session, the changes that
 * can be made to it, and the verdicts.
 *
 * A plugin exports mta1_init and a function for each hook that it wants to be
 * asked at: exported means subscribed.
 *
 *     import { CONTINUE, reject, session } from "@wasmta/sdk";
 *
 *     export function mta1_init(): i32 { return 0; }
 *
 *     export function mta1_on_rcpt(): i32 {
 *       if (session.recipient().local == "nobody") return reject(550, "5.1.1", "there is no such mailbox");
 *       return CONTINUE;
 *     }
 *
 * The server runs an instance of the plugin for each session and for each
 * delivery; variables live as long, and no two calls run at once. What must
 * last longer is an attribute (attributes.set).
 *
 * A function that reads returns "", 0 or false for what is not there, not known
 * at this hook or not granted. A function that changes something returns 0, or
 * an error of Code, and changes nothing then. must is for changes that the
 * policy cannot do without.
 *
 * Changes are kept if the hook returns CONTINUE or ACCEPT, and dropped
 * otherwise. A trap costs the instance; on_error of the configuration is the
 * verdict then.
 */

import {
  Action, Code, Element, Field, Flag, List, LogLevel, Scope,
  host_attr_del, host_attr_get, host_attr_set, host_body_read, host_body_splice, host_body_write, host_config, host_feature, host_get, host_get_num,
  host_list_find, host_list_get, host_list_insert, host_list_len, host_list_num, host_list_remove, host_list_set,
  host_log, host_log_level, host_mono_ns, host_now_ms, host_random, host_reply, host_set, host_set_num,
} from "./abi";
import { again, at, begin, cap, decode, encode, enhanced, finish, integer, message, ok, strings } from "./text";

export { Alg, Canon, Code, Feature, Field, LogLevel, Method, Scope, Send } from "./abi";
export { Digest, crypto } from "./crypto";
export { Counter, Gauge, Histogram, emit, kv, lookup, secret } from "./memory";
export { Exchange, RecordType, Request, Response, address, dns } from "./network";
export { lastError } from "./text";

// Verdicts.

/** No opinion: the next plugin is asked, finally the server's own rules. */
export const CONTINUE: i32 = Action.CONTINUE;
/** Stop asking at this hook; at rcpt: take the recipient. */
export const ACCEPT: i32 = Action.ACCEPT;
/** Refuse for ever; after acceptance: bounce. */
export const REJECT: i32 = Action.REJECT;
/** Refuse for now. */
export const DEFER: i32 = Action.DEFER;
/** Take it and forget it. */
export const DISCARD: i32 = Action.DISCARD;
/** Take it and keep it for an operator. */
export const HOLD: i32 = Action.HOLD;
/** Reply and close the connection. */
export const DROP: i32 = Action.DROP;

/**
 * REJECT with a reply: a code of 500 to 599, an enhanced status code such as
 * "5.7.1" (empty: the server's choice), and a text, whose lines are separated by
 * LF.
 */
export function reject(code: i32, status: string, text: string): i32 {
  return answer(Action.REJECT, code, status, text);
}

/** DEFER with a reply: a code of 400 to 499; see reject. */
export function defer(code: i32, status: string, text: string): i32 {
  return answer(Action.DEFER, code, status, text);
}

/** DROP with a reply: 421 or 554; see reject. */
export function drop(code: i32, status: string, text: string): i32 {
  return answer(Action.DROP, code, status, text);
}

/** ACCEPT with a reply: a code of 200 to 299, for commands that have no reply of the server's; see reject. */
export function accept(code: i32, status: string, text: string): i32 {
  answer(Action.ACCEPT, code, status, text);
  return ACCEPT; // the code of an acceptance is in the reply only
}

/** The verdict, and no further asking of this plugin in this transaction. */
export function detachTransaction(verdict: i32): i32 {
  return verdict | (Flag.DETACH_TX << 8);
}

/** The verdict, and no further asking of this plugin in this session. */
export function detachSession(verdict: i32): i32 {
  return verdict | (Flag.DETACH_SESSION << 8);
}

/** DROP without a word. */
export function silently(verdict: i32): i32 {
  return verdict | (Flag.NO_REPLY << 8);
}

function answer(action: i32, code: i32, status: string, text: string): i32 {
  const b = encode(text);
  // The server judges code and text with the verdict; a refusal shows there.
  host_reply(code, enhanced(status), changetype<usize>(b), b.byteLength);
  return (code << 16) | action;
}

/** Fails the plugin if a change was refused: on_error is the verdict, and the reason is in the log. */
export function must(code: i32): void {
  if (code < 0) throw new Error(message(code));
}

/** What an error code means, in words. */
export function errorText(code: i32): string {
  return message(code);
}

// Octets by number: what stands here has no function of its own below.

/** A field of the kind "octets"; null: it is not there. */
export function get(field: i32): string | null {
  begin();
  let n = host_get(field, at(), cap());
  if (again(n)) n = host_get(field, at(), cap());
  return finish(n);
}

/** A field of the kind "number"; below 0: an error. */
export function getNumber(field: i32): i64 {
  return host_get_num(field);
}

/** Changes a field of the kind "octets". */
export function set(field: i32, value: string): i32 {
  const b = encode(value);
  return host_set(field, changetype<usize>(b), b.byteLength);
}

/** Changes a field of the kind "number". */
export function setNumber(field: i32, value: i64): i32 {
  return host_set_num(field, value);
}

function text(field: i32): string {
  const s = get(field);
  return s === null ? "" : s;
}

function number(field: i32): i64 {
  return max<i64>(host_get_num(field), 0);
}

function element(list: i32, index: i32, field: i32): string {
  begin();
  let n = host_list_get(list, index, field, at(), cap());
  if (again(n)) n = host_list_get(list, index, field, at(), cap());
  const s = finish(n);
  return s === null ? "" : s;
}

function setElement(list: i32, index: i32, field: i32, value: string): i32 {
  const b = encode(value);
  return host_list_set(list, index, field, changetype<usize>(b), b.byteLength);
}

function insert(list: i32, index: i32, value: string): i32 {
  const b = encode(value);
  return host_list_insert(list, index, changetype<usize>(b), b.byteLength);
}

/** One recipient of the message, by its place in the list. Adding and removing others may change the place. */
export class Recipient {
  constructor(public readonly index: i32) {}

  /** The address, without brackets. */
  get forwardPath(): string { return element(List.RCPT, this.index, Element.RCPT_ADDR); }
  /** The local part, unquoted. */
  get local(): string { return element(List.RCPT, this.index, Element.RCPT_LOCAL); }
  /** The domain in lower case and A-labels. */
  get domain(): string { return element(List.RCPT, this.index, Element.RCPT_DOMAIN); }
  /** The forward-path before it was rewritten; "": it was not. */
  get original(): string { return element(List.RCPT, this.index, Element.RCPT_ORIGINAL); }
  /** The ORCPT parameter of RCPT. */
  get orcpt(): string { return element(List.RCPT, this.index, Element.RCPT_ORCPT); }
  /** The NOTIFY parameter of RCPT: a sum of 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY; 0: not given. */
  get notify(): i32 { return <i32>max<i64>(host_list_num(List.RCPT, this.index, Element.RCPT_NOTIFY), 0); }
  /** 0 deferred, 1 delivered, 2 failed. Hook result. */
  get status(): i32 { return <i32>max<i64>(host_list_num(List.RCPT, this.index, Element.RCPT_STATUS), 0); }

  /** Replaces the address. Hooks rcpt (the current one) to message. Needs the grant envelope = "write". */
  setForwardPath(path: string): i32 { return setElement(List.RCPT, this.index, Element.RCPT_ADDR, path); }
  /** Takes the recipient out. Hook message, and at rcpt any but the current one. Go from the last to the first. */
  remove(): i32 { return host_list_remove(List.RCPT, this.index); }
}

/** The client and its transaction. */
export namespace session {
  /** The client's address. */
  export function remoteIP(): string { return text(Field.REMOTE_IP); }
  /** The client's port. */
  export function remotePort(): i32 { return <i32>number(Field.REMOTE_PORT); }
  /** The address that the client connected to. */
  export function localIP(): string { return text(Field.LOCAL_IP); }
  /** The port that the client connected to. */
  export function localPort(): i32 { return <i32>number(Field.LOCAL_PORT); }
  /** The listener's name in the configuration. */
  export function listener(): string { return text(Field.LISTENER); }
  /** The client's name in the DNS, forward-confirmed. */
  export function ptr(): string { return text(Field.PTR_NAME); }
  /** The session's name in the log. */
  export function id(): string { return text(Field.SESSION_ID); }
  /** Replaces the text of the 220 reply. Hook connect. */
  export function setBanner(line: string): i32 { return set(Field.BANNER, line); }

  /** The name that the client gave in HELO, EHLO or LHLO. */
  export function helo(): string { return text(Field.HELO); }
  /** Whether the client said EHLO or LHLO. */
  export function esmtp(): bool { return number(Field.ESMTP) != 0; }
  /** The EHLO keywords with their arguments, one a line. Hook ehlo. */
  export function extensions(): string { return text(Field.EXTENSIONS); }
  /** Replaces them. Hook ehlo. */
  export function setExtensions(lines: string): i32 { return set(Field.EXTENSIONS, lines); }

  /** Whether the connection is encrypted. */
  export function tls(): bool { return number(Field.TLS) != 0; }
  /** 0x0303 for TLS 1.2, 0x0304 for TLS 1.3. */
  export function tlsVersion(): i32 { return <i32>number(Field.TLS_VERSION); }
  /** The name of the cipher suite. */
  export function tlsCipher(): string { return text(Field.TLS_CIPHER); }
  /** The name that the client asked for (SNI). */
  export function tlsServerName(): string { return text(Field.TLS_SNI); }
  /** The SHA-256 of the client's certificate, in hex. */
  export function clientCertificate(): string { return text(Field.CLIENT_CERT_FP); }

  /** The password that the client gave; "": not granted. Hook auth; needs the grant auth_password. */
  export function authPassword(): string { return text(Field.AUTH_PASS); }
  /** The SASL mechanism. */
  export function authMechanism(): string { return text(Field.AUTH_MECH); }
  /** Open connections from the client's address. */
  export function connectionsFromIP(): i32 { return <i32>number(Field.CONN_COUNT_IP); }
  /** The proxy's address if one spoke for the client. */
  export function proxyIP(): string { return text(Field.PROXY_IP); }
  /** The authenticated identity; "": none. */
  export function authID(): string { return text(Field.AUTH_ID); }
  /** The name that the client gave. */
  export function authUser(): string { return text(Field.AUTH_USER); }
  /** Says who the client is, with the verdict ACCEPT. Hook auth. */
  export function setAuthID(id: string): i32 { return set(Field.AUTH_ID, id); }
  /**
   * The keys of authUser, by SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: with the verdict ACCEPT the client is let in if it has
   * their password. The text is that of RFC 5803 and PostgreSQL, or Dovecot's. Hook auth; needs the grant auth_password.
   */
  export function setScram(keys: string): i32 { return set(Field.AUTH_SCRAM, keys); }
  /** The names in the client's certificate if it was verified, one a line: email:ann@example.org. */
  export function certificateNames(): string { return text(Field.CLIENT_CERT_NAMES); }

  /** The verb, in upper case. Hook command. */
  export function verb(): string { return text(Field.VERB); }
  /** What follows the verb. Hook command. */
  export function argument(): string { return text(Field.ARGUMENT); }
  /** Why a transaction or session ended. Hooks reset and close. */
  export function reason(): string { return text(Field.REASON); }

  /** The transaction's name in the log. */
  export function transactionID(): string { return text(Field.TX_ID); }
  /** What MAIL FROM carries, without brackets; "": the null reverse-path. */
  export function reversePath(): string { return text(Field.MAIL_FROM); }
  /** Replaces it. Hooks mail to message. Needs the grant envelope = "write". */
  export function setReversePath(path: string): i32 { return set(Field.MAIL_FROM, path); }
  /** The SIZE parameter of MAIL in octets; 0: not given. */
  export function declaredSize(): i64 { return number(Field.MAIL_SIZE); }
  /** The BODY parameter of MAIL: 0 not given, 1 7BIT, 2 8BITMIME, 3 BINARYMIME. */
  export function bodyType(): i32 { return <i32>number(Field.MAIL_BODY); }
  /** Whether MAIL has this parameter. */
  export function smtputf8(): bool { return number(Field.SMTPUTF8) != 0; }
  /** Whether MAIL has this parameter. */
  export function requireTLS(): bool { return number(Field.REQUIRETLS) != 0; }
  /** The ENVID parameter of MAIL. */
  export function envelopeID(): string { return text(Field.DSN_ENVID); }
  /** The largest content that is taken, in octets. */
  export function sizeLimit(): i64 { return number(Field.SIZE_LIMIT); }
  /** Lowers it. Hook data. */
  export function setSizeLimit(octets: i64): i32 { return setNumber(Field.SIZE_LIMIT, octets); }

  /** The recipient that is asked about. Hook rcpt. */
  export function recipient(): Recipient { return new Recipient(<i32>host_get_num(Field.CUR_RCPT)); }
  /** The number of recipients. */
  export function recipientCount(): i32 { return max(host_list_len(List.RCPT), 0); }
  /** All recipients in their order. */
  export function recipients(): Recipient[] {
    const n = recipientCount();
    const list = new Array<Recipient>(n);
    for (let i = 0; i < n; i++) list[i] = new Recipient(i);
    return list;
  }
  /** Adds a recipient behind the others. Hooks rcpt to message. Needs the grant envelope = "write". */
  export function addRecipient(path: string): i32 { return insert(List.RCPT, -1, path); }

  /** This plugin's name in the configuration. */
  export function plugin(): string { return text(Field.PLUGIN); }
  /** This module with its configuration, as the log calls it. */
  export function generation(): string { return text(Field.GENERATION); }
}

/**
 * The header section. Hooks headers, message, route, attempt, result; needs the
 * grant headers = "read", for changes "write". Changes are possible at headers,
 * message and attempt. Names are compared without regard to case; values are
 * unfolded when read and folded when written. What is not UTF-8 reads as U+FFFD.
 */
export namespace headers {
  /** The number of fields. */
  export function count(): i32 { return max(host_list_len(List.HEADER), 0); }
  /** The name of the field at a place. */
  export function name(index: i32): string { return element(List.HEADER, index, Element.HEADER_NAME); }
  /** The value of the field at a place. */
  export function value(index: i32): string { return element(List.HEADER, index, Element.HEADER_VALUE); }
  /** The place of the first field called name, from a place on; below 0: there is none. */
  export function find(name: string, from: i32 = 0): i32 {
    const key = encode(name);
    return host_list_find(List.HEADER, from, changetype<usize>(key), key.byteLength);
  }
  /** Whether there is a field called name. */
  export function has(name: string): bool { return find(name) >= 0; }
  /** The value of the first field called name; "": there is none. */
  export function get(name: string): string {
    const i = find(name);
    return i < 0 ? "" : value(i);
  }
  /** The values of the fields called name, from the top. */
  export function values(name: string): string[] {
    const list: string[] = [];
    for (let i = find(name); i >= 0; i = find(name, i + 1)) list.push(value(i));
    return list;
  }
  /** The header section as it stands, with folds and the empty line. */
  export function raw(): string { return text(Field.RAW_HEADERS); }
  /** Appends a field. E_CONFLICT: the field may occur once, and is there. */
  export function add(name: string, value: string): i32 { return insert(List.HEADER, -1, name + ": " + value); }
  /** Puts a field on top, where trace fields belong. */
  export function prepend(name: string, value: string): i32 { return insert(List.HEADER, 0, name + ": " + value); }
  /**
   * Gives name this one value: changes the first field, removes further ones,
   * and appends a field if there is none.
   */
  export function set(name: string, value: string): i32 {
    const i = find(name);
    if (i == Code.E_NOT_FOUND) return add(name, value);
    if (i < 0) return i;
    const code = setElement(List.HEADER, i, Element.HEADER_VALUE, value);
    return code < 0 ? code : removeFrom(i + 1, name);
  }
  /** Removes all fields called name. */
  export function remove(name: string): i32 { return removeFrom(0, name); }
}

function removeFrom(i: i32, name: string): i32 {
  while ((i = headers.find(name, i)) >= 0) {
    const code = host_list_remove(List.HEADER, i);
    if (code < 0) return code;
  }
  return i == Code.E_NOT_FOUND ? 0 : i;
}

/** The content. */
export namespace content {
  /** Its length in octets. */
  export function size(): i64 { return number(Field.MSG_SIZE); }
  /** The value of the field Message-ID. */
  export function messageID(): string { return text(Field.MSG_ID); }
  /** The number of Received fields: how many servers the message has passed. */
  export function receivedCount(): i32 { return <i32>number(Field.RECEIVED_COUNT); }
  /** The length of the body in octets. */
  export function bodySize(): i64 { return number(Field.BODY_SIZE); }
  /**
   * Fills buf with octets of the body from an offset on, and returns how many
   * there were; 0: the end; below 0: an error. Hooks message, route, attempt,
   * result; needs the grant body = "read".
   */
  export function readBody(offset: i64, buf: Uint8Array): i32 {
    return host_body_read(offset, buf.dataStart, buf.length);
  }
  /**
   * Appends to a new body, which is made of what writeBody gives and of ranges of
   * the old one in the order of the calls; without a call the body stays. Hook
   * message; needs the grant body = "write".
   */
  export function writeBody(text: string): i32 {
    const b = encode(text);
    return host_body_write(changetype<usize>(b), b.byteLength);
  }
  /** As writeBody, with octets. */
  export function writeBodyOctets(octets: Uint8Array): i32 { return host_body_write(octets.dataStart, octets.length); }
  /** Appends len octets of the old body from an offset on, which do not pass through the plugin; see writeBody. */
  export function spliceBody(offset: i64, len: i64): i32 { return host_body_splice(offset, len); }
}

/** A queue entry on its way. Hooks route, attempt, result, dsn. */
export namespace delivery {
  /** The message's name in the queue and in the log. */
  export function queueID(): string { return text(Field.QUEUE_ID); }
  /** The domain of the recipients. */
  export function domain(): string { return text(Field.DOMAIN); }
  /** The number of this attempt, 1 for the first. */
  export function attempt(): i32 { return <i32>number(Field.ATTEMPT); }
  /** When the message was accepted, in milliseconds since 1970. */
  export function queued(): i64 { return number(Field.FIRST_QUEUED); }
  /** The code of the last reply of a remote server; 0: there was none. */
  export function lastCode(): i32 { return <i32>number(Field.LAST_CODE); }
  /** Its text. */
  export function lastText(): string { return text(Field.LAST_TEXT); }
  /** The host that gave it. */
  export function lastMX(): string { return text(Field.LAST_MX); }
  /** Where the recipients go, as the configuration writes it. */
  export function nextHop(): string { return text(Field.TRANSPORT); }
  /**
   * Says where the recipients go: "smtp:HOST:PORT", "lmtp:HOST:PORT",
   * "lmtp:unix:PATH", "maildir:PATH", "mx", "mx:DOMAIN" or "discard". Hook route,
   * with the verdict ACCEPT, which ends the asking. Needs the grant
   * envelope = "write", as all changes here.
   */
  export function setNextHop(hop: string): i32 { return set(Field.TRANSPORT, hop); }
  /** How much TLS the next hop must do: 0 opportunistic, 1 none, 2 encrypt, 3 verify. Hooks route, attempt. */
  export function setTLSPolicy(policy: i32): i32 { return setNumber(Field.TLS_POLICY, policy); }
  /** The local address to connect from. Hooks route, attempt. */
  export function setSourceIP(ip: string): i32 { return set(Field.SOURCE_IP, ip); }
  /** The name to give in EHLO. Hooks route, attempt. */
  export function setEHLOName(name: string): i32 { return set(Field.EHLO_NAME, name); }
  /** 0 normal to 1000 first. */
  export function priority(): i32 { return <i32>number(Field.PRIORITY); }
  /** Sets it. Hooks route, attempt, result. */
  export function setPriority(p: i32): i32 { return setNumber(Field.PRIORITY, p); }
  /** When to try again, in milliseconds since 1970. Hook result. */
  export function setRetry(at: i64): i32 { return setNumber(Field.NEXT_RETRY, at); }
  /** When to give up, in milliseconds since 1970. */
  export function setExpire(at: i64): i32 { return setNumber(Field.EXPIRE, at); }
}

/** Attributes: what a plugin notes for later. The scope, of Scope, says how long it lasts. */
export namespace attributes {
  /** The value; null: it is not set. key is one of this plugin's own, or "plugin/key" if that is granted. */
  export function get(scope: i32, key: string): string | null {
    const k = encode(key);
    const p = changetype<usize>(k);
    begin();
    let n = host_attr_get(scope, p, k.byteLength, at(), cap());
    if (again(n)) n = host_attr_get(scope, p, k.byteLength, at(), cap());
    return finish(n);
  }
  /** Sets an attribute. */
  export function set(scope: i32, key: string, value: string): i32 {
    const k = encode(key);
    const v = encode(value);
    return host_attr_set(scope, changetype<usize>(k), k.byteLength, changetype<usize>(v), v.byteLength);
  }
  /** Removes it. */
  export function remove(scope: i32, key: string): i32 {
    const k = encode(key);
    return host_attr_del(scope, changetype<usize>(k), k.byteLength);
  }
}

/**
 * The table [plugin.config]. Read it in mta1_init and return config.status(), so
 * that the operator is told at once of a value of the wrong type.
 */
export namespace config {
  let mistake: i32 = 0;

  /** 0, or E_INVAL if a value had the wrong type; the log says which. */
  export function status(): i32 { return mistake; }
  /** Notes that a value is wrong, with the reason for the operator. */
  export function fail(reason: string): void {
    log.error("config: " + reason);
    mistake = Code.E_INVAL;
  }
  /** All of it, a JSON object. */
  export function json(): string {
    const s = read("");
    return s === null ? "{}" : s;
  }
  /** Whether there is a value. */
  export function has(key: string): bool { return lookup(key) !== null; }
  /** A text; of another type, its JSON. */
  export function getString(key: string, missing: string = ""): string {
    const s = lookup(key);
    return s === null ? missing : s;
  }
  /** A list of texts; empty if it is missing. */
  export function getStrings(key: string): string[] {
    const s = lookup(key);
    if (s === null) return [];
    const list = strings(s);
    if (list !== null) return list;
    fail(key + " must be a list of strings");
    return [];
  }
  /** A whole number. */
  export function getInt(key: string, missing: i64 = 0): i64 {
    const s = lookup(key);
    if (s === null) return missing;
    const v = integer(s);
    if (ok()) return v;
    fail(key + " must be a whole number");
    return missing;
  }
  /** true or false. */
  export function getBool(key: string, missing: bool = false): bool {
    const s = lookup(key);
    if (s === null) return missing;
    if (s != "true" && s != "false") fail(key + " must be true or false");
    return s == "true";
  }

  function lookup(key: string): string | null {
    return key.length == 0 ? null : read(key); // "" would be the whole
  }

  function read(key: string): string | null {
    const k = encode(key);
    const p = changetype<usize>(k);
    begin();
    let n = host_config(p, k.byteLength, at(), cap());
    if (again(n)) n = host_config(p, k.byteLength, at(), cap());
    return finish(n);
  }
}

/** Lines for the server's log, which adds plugin, session and message. */
export namespace log {
  export function debug(line: string): void { write(LogLevel.DEBUG, line); }
  export function info(line: string): void { write(LogLevel.INFO, line); }
  export function warn(line: string): void { write(LogLevel.WARN, line); }
  export function error(line: string): void { write(LogLevel.ERROR, line); }
  /** Whether lines of this level, of LogLevel, are kept: making a text that nobody reads can be spared. */
  export function wanted(level: i32): bool { return level >= host_log_level(); }

  function write(level: i32, line: string): void {
    const b = encode(line);
    host_log(level, changetype<usize>(b), b.byteLength);
  }
}

/** The time in milliseconds since 1970. */
export function now(): i64 {
  return host_now_ms();
}

/** A clock in nanoseconds that is never set, for measuring. */
export function monotonic(): i64 {
  return host_mono_ns();
}

/** Cryptographic random octets, at most 65536. */
export function random(length: i32): Uint8Array {
  const b = new Uint8Array(length);
  must(host_random(b.dataStart, length));
  return b;
}

/** Whether the server has a feature, one of Feature, and grants it. */
export function feature(id: i32): bool {
  return host_feature(id) == 1;
}

/** The octets of a text, in UTF-8. */
export function encodeText(text: string): Uint8Array {
  return Uint8Array.wrap(encode(text));
}

/** Text of octets; what is not UTF-8 becomes U+FFFD. */
export function decodeText(octets: Uint8Array): string {
  return decode(octets.dataStart, octets.length);
}
