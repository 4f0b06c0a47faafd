/**
 * What a policy for wasmta in JavaScript sees: the module "mta", and the types of hooks.
 *
 * The server brings the module; this file is for editors and for the TypeScript compiler, and is never run.
 */

/** A hook: what it returns is the verdict, nothing is {@link "mta".CONTINUE}. */
declare type Hook = (session: import("mta").Session) => Verdict | void | null | Promise<Verdict | void | null>;

/** One of the verdicts of "mta", with flags: a number of the contract. */
declare type Verdict = number;

declare module "mta" {
  /** No opinion: the next plugin is asked, at last the server's own rules decide. */
  export const CONTINUE: 0;
  /** Ends the asking at this hook; at onRcpt: the recipient is taken. */
  export const ACCEPT: 1;
  /** Permanently; after acceptance: bounce. */
  export const REJECT: 2;
  /** Try again later. */
  export const DEFER: 3;
  /** Take it and forget it. */
  export const DISCARD: 4;
  /** Take it and keep it for an operator. */
  export const HOLD: 5;
  /** Reply and close the connection. */
  export const DROP: 6;

  /** The verdict, and this plugin is not asked again in this transaction. */
  export function detachTransaction(verdict: Verdict): Verdict;
  /** The verdict, and this plugin is not asked again in this session. */
  export function detachSession(verdict: Verdict): Verdict;
  /** With DROP: the connection closes without a reply. */
  export function silently(verdict: Verdict): Verdict;

  /**
   * REJECT with a reply: a code of 500 to 599, an enhanced code such as "5.7.1", and a text, whose lines are separated
   * by LF. What is left out is the server's choice.
   */
  export function reject(code?: number, enhanced?: string, text?: string): Verdict;
  /** DEFER with a reply: a code of 400 to 499. */
  export function defer(code?: number, enhanced?: string, text?: string): Verdict;
  /** DROP with a reply: 421 or 554. */
  export function drop(code?: number, enhanced?: string, text?: string): Verdict;
  /** ACCEPT, with a reply of 200 to 299 for commands that have none of the server's. */
  export function accept(code?: number, enhanced?: string, text?: string): Verdict;

  /** What cannot be done: not granted, not in this hook, malformed. An exception that nobody catches fails the plugin. */
  export class MtaError extends Error {
    constructor(number: number, what: string);
    /** Its name in the contract: "E_DENIED". */
    readonly code: string;
    /** Its number there: -3. */
    readonly number: number;
  }

  /**
   * What a hook may ask and change. Each property asks the server; what is not there, not known at this hook or not
   * granted is "", 0 or false. Setting one that cannot be set throws an {@link MtaError}. Changes count only with
   * CONTINUE and ACCEPT, and need the grant envelope = "write" (headers: headers = "write").
   */
  export interface Session {
    /** The client's address. */
    readonly remoteIp: string;
    readonly remotePort: number;
    readonly localIp: string;
    readonly localPort: number;
    /** The listener's name in the configuration. */
    readonly listener: string;
    /** The client's name in the DNS, forward-confirmed. */
    readonly ptr: string;
    /** The session's name in the log. */
    readonly id: string;
    readonly connectionsFromIp: number;
    readonly proxyIp: string;
    /** The text of the 220 reply. Hook onConnect. */
    banner: string;

    /** The name given in HELO, EHLO or LHLO. */
    readonly helo: string;
    /** EHLO or LHLO was said. */
    readonly esmtp: boolean;
    readonly tls: boolean;
    /** 0x0303 or 0x0304. */
    readonly tlsVersion: number;
    readonly tlsCipher: string;
    /** The name that the client asked for (SNI). */
    readonly tlsServerName: string;
    /** SHA-256 of the client's certificate, in hex. */
    readonly clientCertificate: string;
    /** EHLO keywords with their arguments. Hook onEhlo. */
    extensions: string[];

    readonly authMechanism: string;
    readonly authUser: string;
    /** Hook onAuth; needs the grant auth_password, and throws without. */
    readonly authPassword: string;
    /**
     * The keys of authUser, where authMechanism begins with SCRAM-SHA-256: with the verdict ACCEPT the client is let in if it
     * has their password. The text is that of RFC 5803 and PostgreSQL, or Dovecot's. Hook onAuth; needs the grant
     * auth_password, and throws without.
     */
    setScram(keys: string): void;
    /** Names in the client's certificate if it was verified, such as "email:ann@example.org". */
    readonly certificateNames: string[];
    /** The authenticated identity; set at onAuth, with the verdict ACCEPT. */
    authId: string;

    readonly transactionId: string;
    /** The reverse-path without brackets; "" is the null reverse-path. Set from onMail to onMessage. */
    mailFrom: string;
    /** SIZE as declared, octets; 0: not said. */
    readonly declaredSize: number;
    /** 0 not said, 1 7BIT, 2 8BITMIME, 3 BINARYMIME. */
    readonly bodyType: number;
    readonly smtpUtf8: boolean;
    readonly requireTls: boolean;
    /** RET of MAIL: 0 not said, 1 FULL, 2 HDRS. */
    readonly dsnReturn: number;
    /** ENVID of MAIL. */
    readonly envelopeId: string;
    /** Largest content, octets. At onData it may be lowered. */
    sizeLimit: number;
    /** Hook onCommand: the verb in upper case, and its argument. */
    readonly verb: string;
    readonly argument: string;
    /** Why a transaction or session ended. Hooks onReset, onClose. */
    readonly reason: string;

    /** The recipient that is asked about. Hook onRcpt. */
    readonly rcpt: Recipient;
    readonly rcptCount: number;
    readonly rcpts: Recipient[];
    /** Adds a recipient behind the others. Hooks onRcpt to onMessage. */
    addRcpt(path: string): void;
    /** Removes those that unwanted says. Hook onMessage; at onRcpt any but the current one. */
    removeRcpts(unwanted: (r: Recipient) => boolean): void;

    /** Hooks onHeaders, onMessage, onRoute, onAttempt, onResult; needs the grant headers. */
    readonly headers: Headers;
    /** Hooks onMessage, onRoute, onAttempt, onResult; needs the grant body. */
    readonly body: Body;
    /** Octets of the content. */
    readonly messageSize: number;
    /** The value of Message-ID. */
    readonly messageId: string;
    /** How many servers the message has passed. */
    readonly receivedCount: number;
    readonly tenant: string;
    readonly spf: string;
    readonly dkim: string;
    readonly dmarc: string;
    readonly arc: string;

    /** The message's name in the queue and in the log. */
    readonly queueId: string;
    /** Of the recipients that are routed or delivered. */
    readonly domain: string;
    /** 1 for the first. */
    readonly attempt: number;
    /** When it was accepted, milliseconds since 1970. */
    readonly queued: number;
    /** What the remote server said last; 0: nothing. */
    readonly lastCode: number;
    readonly lastText: string;
    readonly lastMx: string;
    /** Past attempts, oldest first. */
    readonly attempts: { time: number; relay: string; code: number; text: string }[];
    /**
     * Where the recipients go: "smtp:HOST:PORT", "lmtp:HOST:PORT", "lmtp:unix:PATH", "maildir:PATH", "mx", "mx:DOMAIN" or
     * "discard". Set at onRoute, with the verdict ACCEPT.
     */
    nextHop: string;
    readonly nextHops: { host: string; port: number }[];
    /** Adds "host:port" or "host" behind the next hops. Hook onRoute. */
    addNextHop(hop: string): void;
    /** Of the next hops: 0 opportunistic, 1 none, 2 encrypt, 3 verify. Hooks onRoute, onAttempt. */
    tlsPolicy: number;
    /** The name to give in EHLO. Hooks onRoute, onAttempt. */
    ehloName: string;
    /** The local address to connect from. Hooks onRoute, onAttempt. */
    sourceIp: string;
    pool: string;
    /** 0 normal to 1000 first. Hooks onRoute, onAttempt, onResult. */
    priority: number;
    /** When to try again, and when to give up, milliseconds since 1970. Hooks onRoute, onAttempt, onResult. */
    nextRetry: number;
    expire: number;

    /** This plugin's name in the configuration. */
    readonly plugin: string;
    /** Identifies the module with its configuration in the log. */
    readonly generation: string;
    /** The verdict will not count. */
    readonly shadow: boolean;
    /** What is remembered: for the session, the transaction, with the message, with the current recipient. */
    readonly attrs: { readonly session: Attributes; readonly transaction: Attributes; readonly message: Attributes; readonly recipient: Attributes };

    accept(code?: number, enhanced?: string, text?: string): Verdict;
    reject(code?: number, enhanced?: string, text?: string): Verdict;
    defer(code?: number, enhanced?: string, text?: string): Verdict;
    drop(code?: number, enhanced?: string, text?: string): Verdict;
    discard(): Verdict;
    hold(): Verdict;
  }

  /** A recipient by its place in the list, which changes when one before it is removed. */
  export class Recipient {
    constructor(index: number);
    /** The forward-path without brackets. Set from onRcpt (the current one) to onMessage. */
    path: string;
    /** The local part, unquoted. */
    readonly local: string;
    /** The domain, lower case, A-labels. */
    readonly domain: string;
    /** The path before it was rewritten. */
    readonly original: string;
    /** ORCPT of RCPT. */
    readonly orcpt: string;
    /** NOTIFY of RCPT, a sum: 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY; 0: not said. */
    readonly notify: number;
    /** At onResult: 0 deferred, 1 delivered, 2 failed. */
    readonly status: number;
    remove(): void;
    toString(): string;
  }

  /** The header section. Names are compared without regard to case; values are unfolded when read, folded when written. */
  export interface Headers extends Iterable<[name: string, value: string]> {
    readonly length: number;
    /** The value of the first field of this name; "": there is none. */
    get(name: string): string;
    has(name: string): boolean;
    getAll(name: string): string[];
    /** The section as it stands. */
    readonly raw: string;
    append(name: string, value: string): void;
    /** Puts a field on top, where trace fields belong. */
    prepend(name: string, value: string): void;
    /** Gives the name this one value. */
    set(name: string, value: string): void;
    /** Removes all fields of this name. */
    delete(name: string): void;
  }

  /** The body, which stays in the server until it is read. */
  export interface Body {
    /** Octets. */
    readonly size: number;
    /** At most length octets (65536) from offset; none at the end. */
    read(offset?: number, length?: number): Uint8Array;
    chunks(length?: number): Iterable<Uint8Array>;
    /** The first limit octets (1048576) as text. */
    text(limit?: number): string;
    /** Appends to the new body, and takes a part of the old one over. Needs the grant body = "write". */
    write(octets: string | Uint8Array): void;
    splice(offset: number, length: number): void;
  }

  /** Texts by key. Another plugin's are "plugin/key", if that is granted. */
  export interface Attributes {
    get(key: string): string | undefined;
    has(key: string): boolean;
    set(key: string, value: string | Uint8Array): this;
    delete(key: string): boolean;
  }

  /** The table [plugin.config]. A value of the wrong type throws, which in init refuses the plugin and says why. */
  export interface Config {
    readonly all: Record<string, unknown>;
    has(key: string): boolean;
    get(key: string): unknown;
    string(key: string, fallback?: string): string;
    strings(key: string, fallback?: string[]): string[];
    number(key: string, fallback?: number): number;
    int(key: string, fallback?: number): number;
    bool(key: string, fallback?: boolean): boolean;
  }
  export const config: Config;

  /** One of the operator's secrets; needs the grant secrets. */
  export function secret(name: string): string;
  /** Whether the server has a feature and grants it. */
  export function feature(
    name: "envelopeWrite" | "headersRead" | "headersWrite" | "bodyRead" | "bodyWrite" | "kv" | "dns" | "http" | "crypto" | "table" | "event",
  ): boolean;
  /** Cryptographic random octets, at most 65536. */
  export function random(length: number): Uint8Array;
  /** Milliseconds of a clock that is never set. */
  export function monotonic(): number;
  /** The text of UTF-8. */
  export function text(octets: Uint8Array): string;
  /** The UTF-8 of a text. */
  export function octets(text: string): Uint8Array;

  /** Series of metrics, defined at the top of the script or in init; at most 64. */
  export function counter(name: string): { add(n?: number): void };
  export function gauge(name: string): { set(n: number): void };
  export function histogram(name: string): { observe(n: number): void };

  /**
   * The plugin's memory, which outlives sessions, restarts and new versions; needs the grant kv. Each operation is
   * atomic. ttl is in milliseconds, 0 for ever. 64 operations in a call.
   */
  export const kv: {
    get(key: string): string | undefined;
    getOctets(key: string): Uint8Array | undefined;
    set(key: string, value: string | Uint8Array, ttl?: number): void;
    /** Returns when it is on disk. */
    setSync(key: string, value: string | Uint8Array, ttl?: number): void;
    /** If there is none; tells whether it did. */
    add(key: string, value: string | Uint8Array, ttl?: number): boolean;
    /** If there is one. */
    replace(key: string, value: string | Uint8Array, ttl?: number): boolean;
    /** If it is old, or with an empty old, if there is none. */
    compareAndSwap(key: string, old: string | Uint8Array, value: string | Uint8Array, ttl?: number): boolean;
    delete(key: string): boolean;
    /** Adds to a counter, which does not go below 0; a new one lives for ttl. */
    incr(key: string, delta?: number, ttl?: number): number;
    /** And gives it the ttl anew. */
    incrRefresh(key: string, delta?: number, ttl?: number): number;
    /** Takes tokens from a bucket that holds burst and gains perSecond: 0, or the milliseconds until there are enough. */
    take(key: string, cost: number, burst: number, perSecond: number): number;
  };

  type RecordType = "A" | "NS" | "CNAME" | "PTR" | "MX" | "TXT" | "AAAA" | "SRV" | "CAA";
  /** The server's resolver; needs the grant dns. A name that does not exist throws E_NXDOMAIN. 30 questions in a call. */
  export const dns: {
    /** Starts a question that query will ask. */
    prefetch(type: RecordType | "TLSA", name: string): void;
    /** Addresses as text, MX as "10 host". */
    query(type: RecordType, name: string): string[];
    query(type: "TLSA", name: string): Uint8Array[];
    /** IPv6 and IPv4. */
    addresses(name: string): string[];
    mx(domain: string): { preference: number; host: string }[];
    txt(name: string): string[];
    /** What a DNS list says of an address: "127.0.0.2"; "": it does not have it. */
    listed(zone: string, ip: string): string;
    /** Of the last answer: seconds that it holds, and whether DNSSEC proved it. */
    readonly ttl: number;
    readonly secure: boolean;
  };

  interface RequestOptions {
    method?: "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH";
    headers?: Record<string, string>;
    body?: string | Uint8Array;
    /** Milliseconds, at most and by default 10000. */
    timeout?: number;
  }
  interface Response {
    /** Waits for the response. */
    readonly status: number;
    readonly ok: boolean;
    /** Whether it is there after so many milliseconds. */
    ready(milliseconds: number): boolean;
    header(name: string): string;
    read(length?: number): Uint8Array;
    octets(): Uint8Array;
    text(): string;
    json(): any;
    close(): void;
  }
  /** Requests to the places of the grant http: 4 in a call, 2 of them open at a time. Redirects are not followed. */
  export const http: {
    /** Waits for the response. */
    fetch(url: string, options?: RequestOptions): Response;
    /** Does not wait. */
    start(url: string, options?: RequestOptions): Response;
    /** Posts the message, which does not pass through the script. */
    sendMessage(url: string, options?: { what?: "message" | "body" | "headers"; headers?: Record<string, string>; timeout?: number }): Response;
  };

  type Hash = "sha1" | "sha256" | "sha512";
  type Signature = "ed25519" | "rsa" | "rsa-pss" | "ecdsa-p256";
  type Form = "raw" | "simple" | "relaxed";
  interface Digest {
    update(octets: string | Uint8Array): this;
    /** Hashes a part of the message's body, -1: all that follows. */
    body(form?: Form, offset?: number, length?: number): this;
    final(): Uint8Array;
  }
  /** Cryptography in the server. It needs no grant, except for keys (sign_keys) and the body. */
  export const crypto: {
    digest(name: Hash, octets: string | Uint8Array): Uint8Array;
    createDigest(name: Hash): Digest;
    /** DKIM's bh=. */
    bodyDigest(name: Hash, form?: Form, limit?: number): Uint8Array;
    verify(name: Signature, key: Uint8Array, signature: Uint8Array, digest: Uint8Array): boolean;
    sign(key: string, name: Signature, digest: Uint8Array): Uint8Array;
    hmac(key: string, name: Hash, octets: string | Uint8Array): Uint8Array;
    /** bcrypt, argon2id, scrypt, sha512-crypt and PBKDF2; 4 in a call. */
    checkPassword(hash: string, password: string): boolean;
  };

  /** The operator's tables; needs the grant tables. */
  export const table: {
    lookup(table: string, key: string): string | undefined;
  };

  /** Events for the operator's sinks; needs the grant events. An object is sent as JSON. */
  export const event: {
    emit(topic: string, value: unknown): void;
  };
}
