// Code generated from hostapi/abi by go run ./hostapi/abi/generate; DO NOT EDIT.

//! The contract with the server, ABI 1.0: numbers and functions by their names in it.
//! The rest of the crate makes it comfortable.

/// Error codes: what a function returns below zero.
pub mod code {
    /// `OK` of the contract
    pub const OK: i32 = 0;
    /// an argument is malformed
    pub const E_INVAL: i32 = -1;
    /// there is no such thing
    pub const E_NOT_FOUND: i32 = -2;
    /// not granted
    pub const E_DENIED: i32 = -3;
    /// not in this hook
    pub const E_STATE: i32 = -4;
    /// a quota is used up
    pub const E_LIMIT: i32 = -5;
    /// the host could not answer in time
    pub const E_TIMEOUT: i32 = -6;
    /// unknown field, list, scope, algorithm
    pub const E_UNSUPPORTED: i32 = -7;
    /// a temporary fault on the host's side
    pub const E_UNAVAIL: i32 = -8;
    /// compare-and-swap: changed meanwhile; or the field may occur once
    pub const E_CONFLICT: i32 = -9;
    /// more than the host takes
    pub const E_TOO_LARGE: i32 = -10;
    /// the signature does not verify
    pub const E_BAD_SIG: i32 = -11;
    /// `E_NXDOMAIN` of the contract
    pub const E_NXDOMAIN: i32 = -20;
    /// `E_SERVFAIL` of the contract
    pub const E_SERVFAIL: i32 = -21;
    /// DNSSEC
    pub const E_BOGUS: i32 = -22;
}

/// Actions: the low octet of a verdict.
pub mod action {
    /// `CONTINUE` of the contract
    pub const CONTINUE: u8 = 0;
    /// `ACCEPT` of the contract
    pub const ACCEPT: u8 = 1;
    /// `REJECT` of the contract
    pub const REJECT: u8 = 2;
    /// `DEFER` of the contract
    pub const DEFER: u8 = 3;
    /// `DISCARD` of the contract
    pub const DISCARD: u8 = 4;
    /// `HOLD` of the contract
    pub const HOLD: u8 = 5;
    /// `DROP` of the contract
    pub const DROP: u8 = 6;
}

/// Flags: the second octet of a verdict.
pub mod flag {
    /// `DETACH_TX` of the contract
    pub const DETACH_TX: u8 = 1;
    /// `DETACH_SESSION` of the contract
    pub const DETACH_SESSION: u8 = 2;
    /// with DROP
    pub const NO_REPLY: u8 = 4;
}

/// Fields, for get, get_num, set and set_num. b: octets, n: a number, set: may be changed.
pub mod field {
    // connection
    /// b
    pub const REMOTE_IP: i32 = 0x0101;
    /// n
    pub const REMOTE_PORT: i32 = 0x0102;
    /// b
    pub const LOCAL_IP: i32 = 0x0103;
    /// n
    pub const LOCAL_PORT: i32 = 0x0104;
    /// b, its name in the configuration
    pub const LISTENER: i32 = 0x0105;
    /// b, forward-confirmed; E_NOT_FOUND: none
    pub const PTR_NAME: i32 = 0x0106;
    /// b
    pub const SESSION_ID: i32 = 0x0107;
    /// n, open connections from this address, or its IPv6 /64
    pub const CONN_COUNT_IP: i32 = 0x0108;
    /// b, the proxy's address if one spoke for the client
    pub const PROXY_IP: i32 = 0x0109;
    /// b set, at connect: the text of the 220 reply
    pub const BANNER: i32 = 0x010a;
    // HELO and TLS
    /// b
    pub const HELO: i32 = 0x0201;
    /// n, 1: EHLO or LHLO
    pub const ESMTP: i32 = 0x0202;
    /// n, 1: the connection is encrypted
    pub const TLS: i32 = 0x0203;
    /// n, 0x0303 or 0x0304
    pub const TLS_VERSION: i32 = 0x0204;
    /// b
    pub const TLS_CIPHER: i32 = 0x0205;
    /// b
    pub const TLS_SNI: i32 = 0x0206;
    /// b, SHA-256 in hex
    pub const CLIENT_CERT_FP: i32 = 0x0207;
    /// b set, at ehlo: EHLO keywords, one a line
    pub const EXTENSIONS: i32 = 0x0208;
    /// b, names in the client's certificate if it was verified, one a line
    pub const CLIENT_CERT_NAMES: i32 = 0x0209;
    // authentication
    /// b, the SASL mechanism
    pub const AUTH_MECH: i32 = 0x0301;
    /// b, the name that the client gives, or gave when it was authenticated
    pub const AUTH_USER: i32 = 0x0302;
    /// b, at auth: the password or token; needs the grant auth_password
    pub const AUTH_PASS: i32 = 0x0303;
    /// b set, the authenticated identity; at auth: the one asked for
    pub const AUTH_ID: i32 = 0x0304;
    /// b set, at auth by SCRAM: the keys of AUTH_USER; needs the grant auth_password
    pub const AUTH_SCRAM: i32 = 0x0305;
    // transaction
    /// b
    pub const TX_ID: i32 = 0x0401;
    /// b set, the reverse-path without brackets; empty: null
    pub const MAIL_FROM: i32 = 0x0402;
    /// n, SIZE as declared
    pub const MAIL_SIZE: i32 = 0x0403;
    /// n, 0 unspecified 1 7BIT 2 8BITMIME 3 BINARYMIME
    pub const MAIL_BODY: i32 = 0x0404;
    /// n
    pub const SMTPUTF8: i32 = 0x0405;
    /// n
    pub const REQUIRETLS: i32 = 0x0406;
    /// n, 0 unspecified 1 FULL 2 HDRS
    pub const DSN_RET: i32 = 0x0407;
    /// b
    pub const DSN_ENVID: i32 = 0x0408;
    /// n
    pub const RCPT_COUNT: i32 = 0x0409;
    /// n, index into list RCPT
    pub const CUR_RCPT: i32 = 0x040a;
    /// n set, at data: octets, may be lowered
    pub const SIZE_LIMIT: i32 = 0x040b;
    /// b, at command
    pub const VERB: i32 = 0x040c;
    /// b, at command
    pub const ARGUMENT: i32 = 0x040d;
    /// b, at reset and close
    pub const REASON: i32 = 0x040e;
    /// n, of FUTURERELEASE: ms since 1970; E_NOT_FOUND: at once
    pub const HOLD_UNTIL: i32 = 0x040f;
    /// n, of BY: ms since 1970; E_NOT_FOUND: no deadline
    pub const DELIVER_BY: i32 = 0x0410;
    /// n, 1 N 2 R; E_NOT_FOUND: no deadline
    pub const DELIVER_BY_MODE: i32 = 0x0411;
    /// b, of MT-PRIORITY: -9 to 9 in decimal
    pub const MT_PRIORITY: i32 = 0x0412;
    // message
    /// n, octets of the content
    pub const MSG_SIZE: i32 = 0x0501;
    /// n
    pub const BODY_SIZE: i32 = 0x0502;
    /// b, the header block
    pub const RAW_HEADERS: i32 = 0x0503;
    /// n
    pub const HEADER_COUNT: i32 = 0x0504;
    /// n
    pub const RECEIVED_COUNT: i32 = 0x0505;
    /// b, the Message-ID field's value
    pub const MSG_ID: i32 = 0x0506;
    /// b
    pub const TENANT: i32 = 0x0507;
    /// b
    pub const SPF_RESULT: i32 = 0x0508;
    /// b
    pub const DKIM_RESULT: i32 = 0x0509;
    /// b
    pub const DMARC_RESULT: i32 = 0x050a;
    /// b
    pub const ARC_RESULT: i32 = 0x050b;
    // queue
    /// b
    pub const QUEUE_ID: i32 = 0x0601;
    /// b, of the recipients
    pub const DOMAIN: i32 = 0x0602;
    /// n, 1 for the first
    pub const ATTEMPT: i32 = 0x0603;
    /// n, ms since 1970
    pub const FIRST_QUEUED: i32 = 0x0604;
    /// n, of the last remote reply; 0 none
    pub const LAST_CODE: i32 = 0x0605;
    /// b
    pub const LAST_TEXT: i32 = 0x0606;
    /// b
    pub const LAST_MX: i32 = 0x0607;
    /// n set, ms since 1970
    pub const NEXT_RETRY: i32 = 0x0608;
    /// n set, ms since 1970
    pub const EXPIRE: i32 = 0x0609;
    /// n set, higher first; 0 normal
    pub const PRIORITY: i32 = 0x060a;
    /// b set
    pub const POOL: i32 = 0x060b;
    /// n set, 0 opportunistic 1 none 2 encrypt 3 verify
    pub const TLS_POLICY: i32 = 0x060c;
    /// b set, a next hop as the configuration writes it: smtp:HOST:PORT, lmtp:..., maildir:..., mx, discard
    pub const TRANSPORT: i32 = 0x060d;
    /// b set
    pub const EHLO_NAME: i32 = 0x060e;
    /// b set, local address to connect from
    pub const SOURCE_IP: i32 = 0x060f;
    /// n set, at result: ms since 1970, until when nothing is sent to the next hop
    pub const SUSPEND_UNTIL: i32 = 0x0610;
    /// b, of the notification: failed, delayed, delivered
    pub const DSN_ACTION: i32 = 0x0611;
    /// b set, whom the notification is for
    pub const DSN_TO: i32 = 0x0612;
    /// b set, its text for people
    pub const DSN_TEXT: i32 = 0x0613;
    // plugin
    /// b
    pub const PLUGIN: i32 = 0x0701;
    /// b
    pub const GENERATION: i32 = 0x0702;
    /// b
    pub const HOST_VERSION: i32 = 0x0703;
    /// n
    pub const HOST_ABI_MINOR: i32 = 0x0704;
    /// n
    pub const FUEL_LEFT: i32 = 0x0705;
    /// n, ms
    pub const WALL_LEFT_MS: i32 = 0x0706;
    /// n, octets
    pub const MEM_LIMIT: i32 = 0x0707;
    /// n
    pub const SHADOW: i32 = 0x0708;
    /// n
    pub const DNS_TTL: i32 = 0x0709;
    /// n
    pub const DNS_AD: i32 = 0x070a;
    /// b, the section ScriptSection of the module
    pub const SCRIPT: i32 = 0x070b;
}

/// Lists.
pub mod list {
    /// recipients
    pub const RCPT: i32 = 1;
    /// header fields
    pub const HEADER: i32 = 2;
    /// next hops
    pub const ROUTE: i32 = 3;
    /// past attempts, oldest first
    pub const ATTEMPT: i32 = 4;
    /// the Received fields
    pub const RECEIVED: i32 = 5;
}

/// Fields of the lists' elements.
pub mod element {
    /// b set
    pub const RCPT_ADDR: i32 = 1;
    /// b
    pub const RCPT_ORCPT: i32 = 2;
    /// n, 1 NEVER 2 SUCCESS 4 FAILURE 8 DELAY, a sum; 0 not said
    pub const RCPT_NOTIFY: i32 = 3;
    /// b, unquoted local part
    pub const RCPT_LOCAL: i32 = 4;
    /// b, lower case, A-labels
    pub const RCPT_DOMAIN: i32 = 5;
    /// b, before a rewrite
    pub const RCPT_ORIGINAL: i32 = 6;
    /// n, at result and dsn: 0 deferred 1 delivered 2 failed
    pub const RCPT_STATUS: i32 = 7;
    /// n, of RRVS: ms since 1970; E_NOT_FOUND: not asked
    pub const RCPT_VALID_SINCE: i32 = 8;
    /// b
    pub const HEADER_NAME: i32 = 1;
    /// b set, unfolded
    pub const HEADER_VALUE: i32 = 2;
    /// b, with folds and CRLF
    pub const HEADER_RAW: i32 = 3;
    /// b
    pub const ROUTE_HOST: i32 = 1;
    /// n
    pub const ROUTE_PORT: i32 = 2;
    /// n
    pub const ROUTE_PREF: i32 = 3;
    /// n, ms since 1970
    pub const ATTEMPT_TIME: i32 = 1;
    /// b
    pub const ATTEMPT_RELAY: i32 = 2;
    /// n
    pub const ATTEMPT_CODE: i32 = 3;
    /// b
    pub const ATTEMPT_TEXT: i32 = 4;
}

/// Scopes: how long an attribute lasts.
pub mod scope {
    /// `SESSION` of the contract
    pub const SESSION: i32 = 0;
    /// `TRANSACTION` of the contract
    pub const TRANSACTION: i32 = 1;
    /// `MESSAGE` of the contract
    pub const MESSAGE: i32 = 2;
    /// `RECIPIENT` of the contract
    pub const RECIPIENT: i32 = 3;
}

/// Log levels.
pub mod log_level {
    /// `DEBUG` of the contract
    pub const DEBUG: i32 = 0;
    /// `INFO` of the contract
    pub const INFO: i32 = 1;
    /// `WARN` of the contract
    pub const WARN: i32 = 2;
    /// `ERROR` of the contract
    pub const ERROR: i32 = 3;
}

/// Features, for the function feature.
pub mod feature {
    /// `ENVELOPE_WRITE` of the contract
    pub const ENVELOPE_WRITE: i32 = 1;
    /// `HEADERS_READ` of the contract
    pub const HEADERS_READ: i32 = 2;
    /// `HEADERS_WRITE` of the contract
    pub const HEADERS_WRITE: i32 = 3;
    /// `BODY_READ` of the contract
    pub const BODY_READ: i32 = 4;
    /// `BODY_WRITE` of the contract
    pub const BODY_WRITE: i32 = 5;
    /// `KV` of the contract
    pub const KV: i32 = 16;
    /// `DNS` of the contract
    pub const DNS: i32 = 17;
    /// `HTTP` of the contract
    pub const HTTP: i32 = 18;
    /// `CRYPTO` of the contract
    pub const CRYPTO: i32 = 19;
    /// `TABLE` of the contract
    pub const TABLE: i32 = 20;
    /// `EVENT` of the contract
    pub const EVENT: i32 = 21;
}

/// Flags of mta1_kv.
pub mod kv_flag {
    /// set: only if there is no value
    pub const IF_ABSENT: i32 = 1;
    /// set: only if there is one
    pub const IF_PRESENT: i32 = 2;
    /// set: on disk before the call returns
    pub const SYNC: i32 = 4;
    /// incr: give an existing counter the TTL anew
    pub const REFRESH: i32 = 1;
}

/// Kinds of metrics.
pub mod metric {
    /// `COUNTER` of the contract
    pub const COUNTER: i32 = 0;
    /// `GAUGE` of the contract
    pub const GAUGE: i32 = 1;
    /// `HISTOGRAM` of the contract
    pub const HISTOGRAM: i32 = 2;
}

/// Algorithms of mta1_crypto.
pub mod alg {
    /// `SHA1` of the contract
    pub const SHA1: i32 = 1;
    /// `SHA256` of the contract
    pub const SHA256: i32 = 2;
    /// `SHA512` of the contract
    pub const SHA512: i32 = 3;
    /// PureEdDSA of what is given: for DKIM the SHA-256 (RFC 8463)
    pub const ED25519: i32 = 16;
    /// PKCS #1 v1.5 of a SHA-256
    pub const RSA: i32 = 17;
    /// PSS of a SHA-256
    pub const RSAPSS: i32 = 18;
    /// of a SHA-256; the signature is ASN.1
    pub const ECDSAP256: i32 = 19;
}

/// Canonicalisations of a body (RFC 6376 3.4), for digest_body.
pub mod canon {
    /// `RAW` of the contract
    pub const RAW: i32 = 0;
    /// `SIMPLE` of the contract
    pub const SIMPLE: i32 = 1;
    /// `RELAXED` of the contract
    pub const RELAXED: i32 = 2;
}

/// Methods of mta1_http.
pub mod method {
    /// `GET` of the contract
    pub const GET: i32 = 1;
    /// `HEAD` of the contract
    pub const HEAD: i32 = 2;
    /// `POST` of the contract
    pub const POST: i32 = 3;
    /// `PUT` of the contract
    pub const PUT: i32 = 4;
    /// `DELETE` of the contract
    pub const DELETE: i32 = 5;
    /// `PATCH` of the contract
    pub const PATCH: i32 = 6;
}

/// What start_msg of mta1_http sends.
pub mod send {
    /// `MESSAGE` of the contract
    pub const MESSAGE: i32 = 1;
    /// `BODY` of the contract
    pub const BODY: i32 = 2;
    /// `HEADERS` of the contract
    pub const HEADERS: i32 = 3;
}

/// Limits, most of them of one hook call.
pub mod max {
    /// `HOST_CALLS` of the contract
    pub const HOST_CALLS: usize = 10000;
    /// `HEADER_EDITS` of the contract
    pub const HEADER_EDITS: usize = 64;
    /// added by edits
    pub const HEADER_BYTES: usize = 262144;
    /// `LOG_LINE` of the contract
    pub const LOG_LINE: usize = 4096;
    /// `LOG_LINES` of the contract
    pub const LOG_LINES: usize = 32;
    /// `KEY` of the contract
    pub const KEY: usize = 512;
    /// `ATTR_VALUE` of the contract
    pub const ATTR_VALUE: usize = 16384;
    /// `CONFIG` of the contract
    pub const CONFIG: usize = 1048576;
    /// `SCRIPT` of the contract
    pub const SCRIPT: usize = 1048576;
    /// changes of fields, attributes and next hops
    pub const EDITS: usize = 256;
    /// changes of recipients
    pub const RCPT_EDITS: usize = 1000;
    /// calls of body_write and body_splice
    pub const BODY_EDITS: usize = 8192;
    /// attributes in one scope, of all plugins
    pub const ATTRS: usize = 1000;
    /// of query, prefetch and dnsbl for different questions
    pub const DNS_CALLS: usize = 30;
    /// of prefetch
    pub const DNS_IN_FLIGHT: usize = 8;
    /// of start and start_msg
    pub const HTTP_CALLS: usize = 4;
    /// handles at a time
    pub const HTTP_OPEN: usize = 2;
    /// in a second, of one plugin
    pub const HTTP_RATE: usize = 20;
    /// milliseconds, of one request
    pub const HTTP_TIME: usize = 10000;
    /// octets of a body that is given to start
    pub const HTTP_REQUEST: usize = 262144;
    /// octets of a body
    pub const HTTP_RESPONSE: usize = 1048576;
    /// handles at a time
    pub const DIGESTS: usize = 8;
    /// `SIGN_CALLS` of the contract
    pub const SIGN_CALLS: usize = 16;
    /// `PASSWORD_CALLS` of the contract
    pub const PASSWORD_CALLS: usize = 4;
    /// `KV_CALLS` of the contract
    pub const KV_CALLS: usize = 64;
    /// `KV_KEY` of the contract
    pub const KV_KEY: usize = 512;
    /// `KV_VALUE` of the contract
    pub const KV_VALUE: usize = 65536;
    /// of one plugin
    pub const KV_KEYS: usize = 1000000;
    /// `EVENT_CALLS` of the contract
    pub const EVENT_CALLS: usize = 16;
    /// `EVENT` of the contract
    pub const EVENT: usize = 65536;
    /// `TOPIC` of the contract
    pub const TOPIC: usize = 64;
    /// of one plugin
    pub const METRICS: usize = 64;
    /// `METRIC_NAME` of the contract
    pub const METRIC_NAME: usize = 64;
}

// The functions of the host. Results below zero are codes.
#[cfg(target_arch = "wasm32")]
#[link(wasm_import_module = "mta1")]
extern "C" {
    /// a field of kind b
    pub fn get(field: i32, buf: *mut u8, cap: usize) -> i32;
    /// a field of kind n, from 0 up
    pub fn get_num(field: i32) -> i64;
    /// change a field of kind b
    pub fn set(field: i32, ptr: *const u8, len: usize) -> i32;
    /// change a field of kind n
    pub fn set_num(field: i32, value: i64) -> i32;
    /// the number of elements
    pub fn list_len(list: i32) -> i32;
    /// a field of an element, kind b
    pub fn list_get(list: i32, idx: i32, field: i32, buf: *mut u8, cap: usize) -> i32;
    /// a field of an element, kind n
    pub fn list_num(list: i32, idx: i32, field: i32) -> i64;
    /// change a field of an element
    pub fn list_set(list: i32, idx: i32, field: i32, ptr: *const u8, len: usize) -> i32;
    /// insert before idx; -1 is the end
    pub fn list_insert(list: i32, idx: i32, ptr: *const u8, len: usize) -> i32;
    /// remove an element
    pub fn list_remove(list: i32, idx: i32) -> i32;
    /// index of the first match at or after from, without regard to case
    pub fn list_find(list: i32, from: i32, key: *const u8, klen: usize) -> i32;
    /// the reply of this call's verdict; section 4
    pub fn reply(code: i32, enh: i32, ptr: *const u8, len: usize) -> i32;
    /// octets of the body from off; the number read, 0 at the end
    pub fn body_read(off: i64, buf: *mut u8, cap: usize) -> i32;
    /// append octets to the new body
    pub fn body_write(ptr: *const u8, len: usize) -> i32;
    /// append octets of the old body from off to the new one; len -1: all that follow
    pub fn body_splice(off: i64, len: i64) -> i32;
    /// an attribute
    pub fn attr_get(scope: i32, key: *const u8, klen: usize, buf: *mut u8, cap: usize) -> i32;
    /// set an attribute
    pub fn attr_set(scope: i32, key: *const u8, klen: usize, ptr: *const u8, len: usize) -> i32;
    /// delete an attribute; E_NOT_FOUND: it was not set
    pub fn attr_del(scope: i32, key: *const u8, klen: usize) -> i32;
    /// the configuration: klen 0 all of it as JSON, otherwise a member of the object: a string as its text, anything else as JSON
    pub fn config(key: *const u8, klen: usize, buf: *mut u8, cap: usize) -> i32;
    /// a secret of the operator
    pub fn secret(name: *const u8, nlen: usize, buf: *mut u8, cap: usize) -> i32;
    /// a line for the log: 0 debug, 1 info, 2 warning, 3 error
    pub fn log(level: i32, ptr: *const u8, len: usize) -> i32;
    /// the lowest level that is kept
    pub fn log_level() -> i32;
    /// milliseconds since 1970
    pub fn now_ms() -> i64;
    /// nanoseconds of a clock that is never set
    pub fn mono_ns() -> i64;
    /// cryptographic random octets, at most 65536
    pub fn random(buf: *mut u8, len: usize) -> i32;
    /// the id of a series of metrics; in mta1_init
    pub fn metric_def(kind: i32, name: *const u8, nlen: usize) -> i32;
    /// a sample
    pub fn metric_add(id: i32, value: i64) -> i32;
    /// 1: this server has it and the plugin is granted it; 0: no
    pub fn feature(id: i32) -> i32;
}

/// The module mta1_kv; the contract says what it needs.
#[cfg(target_arch = "wasm32")]
pub mod kv {
    #[link(wasm_import_module = "mta1_kv")]
    extern "C" {
        /// `get` of the contract
        pub fn get(key: *const u8, klen: usize, buf: *mut u8, cap: usize) -> i32;
        /// `set` of the contract
        pub fn set(key: *const u8, klen: usize, val: *const u8, vlen: usize, ttl_ms: i64, flags: i32) -> i32;
        /// `del` of the contract
        pub fn del(key: *const u8, klen: usize) -> i32;
        /// `incr` of the contract
        pub fn incr(key: *const u8, klen: usize, delta: i64, ttl_ms: i64, flags: i32) -> i64;
        /// `take` of the contract
        pub fn take(key: *const u8, klen: usize, cost: i32, burst: i32, per_sec_milli: i64) -> i64;
        /// `cas` of the contract
        pub fn cas(key: *const u8, klen: usize, old: *const u8, olen: usize, new_: *const u8, nlen: usize, ttl_ms: i64) -> i32;
    }
}

/// The module mta1_dns; the contract says what it needs.
#[cfg(target_arch = "wasm32")]
pub mod dns {
    #[link(wasm_import_module = "mta1_dns")]
    extern "C" {
        /// `prefetch` of the contract
        pub fn prefetch(type_: i32, name: *const u8, nlen: usize) -> i32;
        /// `query` of the contract
        pub fn query(type_: i32, name: *const u8, nlen: usize, buf: *mut u8, cap: usize) -> i32;
        /// `dnsbl` of the contract
        pub fn dnsbl(zone: *const u8, zlen: usize, ip: *const u8, iplen: usize, out4: *mut u8) -> i32;
    }
}

/// The module mta1_http; the contract says what it needs.
#[cfg(target_arch = "wasm32")]
pub mod http {
    #[link(wasm_import_module = "mta1_http")]
    extern "C" {
        /// `start` of the contract
        pub fn start(method: i32, url: *const u8, ulen: usize, hdr: *const u8, hlen: usize, body: *const u8, blen: usize, timeout_ms: i32) -> i32;
        /// `start_msg` of the contract
        pub fn start_msg(url: *const u8, ulen: usize, hdr: *const u8, hlen: usize, what: i32, timeout_ms: i32) -> i32;
        /// `wait` of the contract
        pub fn wait(handle: i32, timeout_ms: i32) -> i32;
        /// `header` of the contract
        pub fn header(handle: i32, name: *const u8, nlen: usize, buf: *mut u8, cap: usize) -> i32;
        /// `read` of the contract
        pub fn read(handle: i32, buf: *mut u8, cap: usize) -> i32;
        /// `close` of the contract
        pub fn close(handle: i32) -> i32;
    }
}

/// The module mta1_crypto; the contract says what it needs.
#[cfg(target_arch = "wasm32")]
pub mod crypto {
    #[link(wasm_import_module = "mta1_crypto")]
    extern "C" {
        /// `digest` of the contract
        pub fn digest(alg: i32, ptr: *const u8, len: usize, out: *mut u8, cap: usize) -> i32;
        /// `digest_open` of the contract
        pub fn digest_open(alg: i32) -> i32;
        /// `digest_update` of the contract
        pub fn digest_update(h: i32, ptr: *const u8, len: usize) -> i32;
        /// `digest_body` of the contract
        pub fn digest_body(h: i32, off: i64, len: i64, canon: i32) -> i32;
        /// `digest_final` of the contract
        pub fn digest_final(h: i32, out: *mut u8, cap: usize) -> i32;
        /// `verify` of the contract
        pub fn verify(alg: i32, key: *const u8, klen: usize, sig: *const u8, slen: usize, dig: *const u8, dlen: usize) -> i32;
        /// `sign` of the contract
        pub fn sign(keyname: *const u8, nlen: usize, alg: i32, dig: *const u8, dlen: usize, out: *mut u8, cap: usize) -> i32;
        /// `hmac` of the contract
        pub fn hmac(keyname: *const u8, nlen: usize, alg: i32, ptr: *const u8, len: usize, out: *mut u8, cap: usize) -> i32;
        /// `password_verify` of the contract
        pub fn password_verify(hash: *const u8, hlen: usize, pw: *const u8, pwlen: usize) -> i32;
    }
}

/// The module mta1_table; the contract says what it needs.
#[cfg(target_arch = "wasm32")]
pub mod table {
    #[link(wasm_import_module = "mta1_table")]
    extern "C" {
        /// `lookup` of the contract
        pub fn lookup(table: *const u8, tlen: usize, key: *const u8, klen: usize, buf: *mut u8, cap: usize) -> i32;
    }
}

/// The module mta1_event; the contract says what it needs.
#[cfg(target_arch = "wasm32")]
pub mod event {
    #[link(wasm_import_module = "mta1_event")]
    extern "C" {
        /// `emit` of the contract
        pub fn emit(topic: *const u8, tlen: usize, data: *const u8, dlen: usize) -> i32;
    }
}

/// Exports a hook; `hook!` is what plugins write.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (on_connect, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_connect() -> i32 {
            $crate::__call($body)
        }
    };
    (on_tls, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_tls() -> i32 {
            $crate::__call($body)
        }
    };
    (on_ehlo, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_ehlo() -> i32 {
            $crate::__call($body)
        }
    };
    (on_auth, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_auth() -> i32 {
            $crate::__call($body)
        }
    };
    (on_command, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_command() -> i32 {
            $crate::__call($body)
        }
    };
    (on_mail, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_mail() -> i32 {
            $crate::__call($body)
        }
    };
    (on_rcpt, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_rcpt() -> i32 {
            $crate::__call($body)
        }
    };
    (on_data, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_data() -> i32 {
            $crate::__call($body)
        }
    };
    (on_headers, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_headers() -> i32 {
            $crate::__call($body)
        }
    };
    (on_message, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_message() -> i32 {
            $crate::__call($body)
        }
    };
    (on_reset, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_reset() -> i32 {
            $crate::__call($body)
        }
    };
    (on_close, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_close() -> i32 {
            $crate::__call($body)
        }
    };
    (on_route, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_route() -> i32 {
            $crate::__call($body)
        }
    };
    (on_attempt, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_attempt() -> i32 {
            $crate::__call($body)
        }
    };
    (on_result, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_result() -> i32 {
            $crate::__call($body)
        }
    };
    (on_dsn, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_dsn() -> i32 {
            $crate::__call($body)
        }
    };
    (on_tick, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn mta1_on_tick() -> i32 {
            $crate::__call($body)
        }
    };
}
