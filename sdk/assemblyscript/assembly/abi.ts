// Code generated from hostapi/abi by go run ./hostapi/abi/generate; DO NOT EDIT.

// The contract with the server, ABI 1.0: numbers and functions by their names in it.

/** Error codes: what a function returns below zero. */
export namespace Code {
  // @ts-ignore: decorator
  @inline
  export const OK: i32 = 0;
  /** an argument is malformed */
  // @ts-ignore: decorator
  @inline
  export const E_INVAL: i32 = -1;
  /** there is no such thing */
  // @ts-ignore: decorator
  @inline
  export const E_NOT_FOUND: i32 = -2;
  /** not granted */
  // @ts-ignore: decorator
  @inline
  export const E_DENIED: i32 = -3;
  /** not in this hook */
  // @ts-ignore: decorator
  @inline
  export const E_STATE: i32 = -4;
  /** a quota is used up */
  // @ts-ignore: decorator
  @inline
  export const E_LIMIT: i32 = -5;
  /** the host could not answer in time */
  // @ts-ignore: decorator
  @inline
  export const E_TIMEOUT: i32 = -6;
  /** unknown field, list, scope, algorithm */
  // @ts-ignore: decorator
  @inline
  export const E_UNSUPPORTED: i32 = -7;
  /** a temporary fault on the host's side */
  // @ts-ignore: decorator
  @inline
  export const E_UNAVAIL: i32 = -8;
  /** compare-and-swap: changed meanwhile; or the field may occur once */
  // @ts-ignore: decorator
  @inline
  export const E_CONFLICT: i32 = -9;
  /** more than the host takes */
  // @ts-ignore: decorator
  @inline
  export const E_TOO_LARGE: i32 = -10;
  /** the signature does not verify */
  // @ts-ignore: decorator
  @inline
  export const E_BAD_SIG: i32 = -11;
  // @ts-ignore: decorator
  @inline
  export const E_NXDOMAIN: i32 = -20;
  // @ts-ignore: decorator
  @inline
  export const E_SERVFAIL: i32 = -21;
  /** DNSSEC */
  // @ts-ignore: decorator
  @inline
  export const E_BOGUS: i32 = -22;
}

/** Actions: the low octet of a verdict. */
export namespace Action {
  // @ts-ignore: decorator
  @inline
  export const CONTINUE: i32 = 0;
  // @ts-ignore: decorator
  @inline
  export const ACCEPT: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const REJECT: i32 = 2;
  // @ts-ignore: decorator
  @inline
  export const DEFER: i32 = 3;
  // @ts-ignore: decorator
  @inline
  export const DISCARD: i32 = 4;
  // @ts-ignore: decorator
  @inline
  export const HOLD: i32 = 5;
  // @ts-ignore: decorator
  @inline
  export const DROP: i32 = 6;
}

/** Flags: the second octet of a verdict. */
export namespace Flag {
  // @ts-ignore: decorator
  @inline
  export const DETACH_TX: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const DETACH_SESSION: i32 = 2;
  /** with DROP */
  // @ts-ignore: decorator
  @inline
  export const NO_REPLY: i32 = 4;
}

/** Fields, for get, get_num, set and set_num. b: octets, n: a number, set: may be changed. */
export namespace Field {
  // connection
  /** b */
  // @ts-ignore: decorator
  @inline
  export const REMOTE_IP: i32 = 0x0101;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const REMOTE_PORT: i32 = 0x0102;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const LOCAL_IP: i32 = 0x0103;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const LOCAL_PORT: i32 = 0x0104;
  /** b, its name in the configuration */
  // @ts-ignore: decorator
  @inline
  export const LISTENER: i32 = 0x0105;
  /** b, forward-confirmed; E_NOT_FOUND: none */
  // @ts-ignore: decorator
  @inline
  export const PTR_NAME: i32 = 0x0106;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const SESSION_ID: i32 = 0x0107;
  /** n, open connections from this address, or its IPv6 /64 */
  // @ts-ignore: decorator
  @inline
  export const CONN_COUNT_IP: i32 = 0x0108;
  /** b, the proxy's address if one spoke for the client */
  // @ts-ignore: decorator
  @inline
  export const PROXY_IP: i32 = 0x0109;
  /** b set, at connect: the text of the 220 reply */
  // @ts-ignore: decorator
  @inline
  export const BANNER: i32 = 0x010a;
  // HELO and TLS
  /** b */
  // @ts-ignore: decorator
  @inline
  export const HELO: i32 = 0x0201;
  /** n, 1: EHLO or LHLO */
  // @ts-ignore: decorator
  @inline
  export const ESMTP: i32 = 0x0202;
  /** n, 1: the connection is encrypted */
  // @ts-ignore: decorator
  @inline
  export const TLS: i32 = 0x0203;
  /** n, 0x0303 or 0x0304 */
  // @ts-ignore: decorator
  @inline
  export const TLS_VERSION: i32 = 0x0204;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const TLS_CIPHER: i32 = 0x0205;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const TLS_SNI: i32 = 0x0206;
  /** b, SHA-256 in hex */
  // @ts-ignore: decorator
  @inline
  export const CLIENT_CERT_FP: i32 = 0x0207;
  /** b set, at ehlo: EHLO keywords, one a line */
  // @ts-ignore: decorator
  @inline
  export const EXTENSIONS: i32 = 0x0208;
  /** b, names in the client's certificate if it was verified, one a line */
  // @ts-ignore: decorator
  @inline
  export const CLIENT_CERT_NAMES: i32 = 0x0209;
  // authentication
  /** b, the SASL mechanism */
  // @ts-ignore: decorator
  @inline
  export const AUTH_MECH: i32 = 0x0301;
  /** b, the name that the client gives, or gave when it was authenticated */
  // @ts-ignore: decorator
  @inline
  export const AUTH_USER: i32 = 0x0302;
  /** b, at auth: the password or token; needs the grant auth_password */
  // @ts-ignore: decorator
  @inline
  export const AUTH_PASS: i32 = 0x0303;
  /** b set, the authenticated identity; at auth: the one asked for */
  // @ts-ignore: decorator
  @inline
  export const AUTH_ID: i32 = 0x0304;
  /** b set, at auth by SCRAM: the keys of AUTH_USER; needs the grant auth_password */
  // @ts-ignore: decorator
  @inline
  export const AUTH_SCRAM: i32 = 0x0305;
  // transaction
  /** b */
  // @ts-ignore: decorator
  @inline
  export const TX_ID: i32 = 0x0401;
  /** b set, the reverse-path without brackets; empty: null */
  // @ts-ignore: decorator
  @inline
  export const MAIL_FROM: i32 = 0x0402;
  /** n, SIZE as declared */
  // @ts-ignore: decorator
  @inline
  export const MAIL_SIZE: i32 = 0x0403;
  /** n, 0 unspecified 1 7BIT 2 8BITMIME 3 BINARYMIME */
  // @ts-ignore: decorator
  @inline
  export const MAIL_BODY: i32 = 0x0404;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const SMTPUTF8: i32 = 0x0405;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const REQUIRETLS: i32 = 0x0406;
  /** n, 0 unspecified 1 FULL 2 HDRS */
  // @ts-ignore: decorator
  @inline
  export const DSN_RET: i32 = 0x0407;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const DSN_ENVID: i32 = 0x0408;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const RCPT_COUNT: i32 = 0x0409;
  /** n, index into list RCPT */
  // @ts-ignore: decorator
  @inline
  export const CUR_RCPT: i32 = 0x040a;
  /** n set, at data: octets, may be lowered */
  // @ts-ignore: decorator
  @inline
  export const SIZE_LIMIT: i32 = 0x040b;
  /** b, at command */
  // @ts-ignore: decorator
  @inline
  export const VERB: i32 = 0x040c;
  /** b, at command */
  // @ts-ignore: decorator
  @inline
  export const ARGUMENT: i32 = 0x040d;
  /** b, at reset and close */
  // @ts-ignore: decorator
  @inline
  export const REASON: i32 = 0x040e;
  /** n, of FUTURERELEASE: ms since 1970; E_NOT_FOUND: at once */
  // @ts-ignore: decorator
  @inline
  export const HOLD_UNTIL: i32 = 0x040f;
  /** n, of BY: ms since 1970; E_NOT_FOUND: no deadline */
  // @ts-ignore: decorator
  @inline
  export const DELIVER_BY: i32 = 0x0410;
  /** n, 1 N 2 R; E_NOT_FOUND: no deadline */
  // @ts-ignore: decorator
  @inline
  export const DELIVER_BY_MODE: i32 = 0x0411;
  /** b, of MT-PRIORITY: -9 to 9 in decimal */
  // @ts-ignore: decorator
  @inline
  export const MT_PRIORITY: i32 = 0x0412;
  // message
  /** n, octets of the content */
  // @ts-ignore: decorator
  @inline
  export const MSG_SIZE: i32 = 0x0501;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const BODY_SIZE: i32 = 0x0502;
  /** b, the header block */
  // @ts-ignore: decorator
  @inline
  export const RAW_HEADERS: i32 = 0x0503;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const HEADER_COUNT: i32 = 0x0504;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const RECEIVED_COUNT: i32 = 0x0505;
  /** b, the Message-ID field's value */
  // @ts-ignore: decorator
  @inline
  export const MSG_ID: i32 = 0x0506;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const TENANT: i32 = 0x0507;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const SPF_RESULT: i32 = 0x0508;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const DKIM_RESULT: i32 = 0x0509;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const DMARC_RESULT: i32 = 0x050a;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const ARC_RESULT: i32 = 0x050b;
  // queue
  /** b */
  // @ts-ignore: decorator
  @inline
  export const QUEUE_ID: i32 = 0x0601;
  /** b, of the recipients */
  // @ts-ignore: decorator
  @inline
  export const DOMAIN: i32 = 0x0602;
  /** n, 1 for the first */
  // @ts-ignore: decorator
  @inline
  export const ATTEMPT: i32 = 0x0603;
  /** n, ms since 1970 */
  // @ts-ignore: decorator
  @inline
  export const FIRST_QUEUED: i32 = 0x0604;
  /** n, of the last remote reply; 0 none */
  // @ts-ignore: decorator
  @inline
  export const LAST_CODE: i32 = 0x0605;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const LAST_TEXT: i32 = 0x0606;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const LAST_MX: i32 = 0x0607;
  /** n set, ms since 1970 */
  // @ts-ignore: decorator
  @inline
  export const NEXT_RETRY: i32 = 0x0608;
  /** n set, ms since 1970 */
  // @ts-ignore: decorator
  @inline
  export const EXPIRE: i32 = 0x0609;
  /** n set, higher first; 0 normal */
  // @ts-ignore: decorator
  @inline
  export const PRIORITY: i32 = 0x060a;
  /** b set */
  // @ts-ignore: decorator
  @inline
  export const POOL: i32 = 0x060b;
  /** n set, 0 opportunistic 1 none 2 encrypt 3 verify */
  // @ts-ignore: decorator
  @inline
  export const TLS_POLICY: i32 = 0x060c;
  /** b set, a next hop as the configuration writes it: smtp:HOST:PORT, lmtp:..., maildir:..., mx, discard */
  // @ts-ignore: decorator
  @inline
  export const TRANSPORT: i32 = 0x060d;
  /** b set */
  // @ts-ignore: decorator
  @inline
  export const EHLO_NAME: i32 = 0x060e;
  /** b set, local address to connect from */
  // @ts-ignore: decorator
  @inline
  export const SOURCE_IP: i32 = 0x060f;
  /** n set, at result: ms since 1970, until when nothing is sent to the next hop */
  // @ts-ignore: decorator
  @inline
  export const SUSPEND_UNTIL: i32 = 0x0610;
  /** b, of the notification: failed, delayed, delivered */
  // @ts-ignore: decorator
  @inline
  export const DSN_ACTION: i32 = 0x0611;
  /** b set, whom the notification is for */
  // @ts-ignore: decorator
  @inline
  export const DSN_TO: i32 = 0x0612;
  /** b set, its text for people */
  // @ts-ignore: decorator
  @inline
  export const DSN_TEXT: i32 = 0x0613;
  // plugin
  /** b */
  // @ts-ignore: decorator
  @inline
  export const PLUGIN: i32 = 0x0701;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const GENERATION: i32 = 0x0702;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const HOST_VERSION: i32 = 0x0703;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const HOST_ABI_MINOR: i32 = 0x0704;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const FUEL_LEFT: i32 = 0x0705;
  /** n, ms */
  // @ts-ignore: decorator
  @inline
  export const WALL_LEFT_MS: i32 = 0x0706;
  /** n, octets */
  // @ts-ignore: decorator
  @inline
  export const MEM_LIMIT: i32 = 0x0707;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const SHADOW: i32 = 0x0708;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const DNS_TTL: i32 = 0x0709;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const DNS_AD: i32 = 0x070a;
  /** b, the section ScriptSection of the module */
  // @ts-ignore: decorator
  @inline
  export const SCRIPT: i32 = 0x070b;
}

/** Lists. */
export namespace List {
  /** recipients */
  // @ts-ignore: decorator
  @inline
  export const RCPT: i32 = 1;
  /** header fields */
  // @ts-ignore: decorator
  @inline
  export const HEADER: i32 = 2;
  /** next hops */
  // @ts-ignore: decorator
  @inline
  export const ROUTE: i32 = 3;
  /** past attempts, oldest first */
  // @ts-ignore: decorator
  @inline
  export const ATTEMPT: i32 = 4;
  /** the Received fields */
  // @ts-ignore: decorator
  @inline
  export const RECEIVED: i32 = 5;
}

/** Fields of the lists' elements. */
export namespace Element {
  /** b set */
  // @ts-ignore: decorator
  @inline
  export const RCPT_ADDR: i32 = 1;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const RCPT_ORCPT: i32 = 2;
  /** n, 1 NEVER 2 SUCCESS 4 FAILURE 8 DELAY, a sum; 0 not said */
  // @ts-ignore: decorator
  @inline
  export const RCPT_NOTIFY: i32 = 3;
  /** b, unquoted local part */
  // @ts-ignore: decorator
  @inline
  export const RCPT_LOCAL: i32 = 4;
  /** b, lower case, A-labels */
  // @ts-ignore: decorator
  @inline
  export const RCPT_DOMAIN: i32 = 5;
  /** b, before a rewrite */
  // @ts-ignore: decorator
  @inline
  export const RCPT_ORIGINAL: i32 = 6;
  /** n, at result and dsn: 0 deferred 1 delivered 2 failed */
  // @ts-ignore: decorator
  @inline
  export const RCPT_STATUS: i32 = 7;
  /** n, of RRVS: ms since 1970; E_NOT_FOUND: not asked */
  // @ts-ignore: decorator
  @inline
  export const RCPT_VALID_SINCE: i32 = 8;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const HEADER_NAME: i32 = 1;
  /** b set, unfolded */
  // @ts-ignore: decorator
  @inline
  export const HEADER_VALUE: i32 = 2;
  /** b, with folds and CRLF */
  // @ts-ignore: decorator
  @inline
  export const HEADER_RAW: i32 = 3;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const ROUTE_HOST: i32 = 1;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const ROUTE_PORT: i32 = 2;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const ROUTE_PREF: i32 = 3;
  /** n, ms since 1970 */
  // @ts-ignore: decorator
  @inline
  export const ATTEMPT_TIME: i32 = 1;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const ATTEMPT_RELAY: i32 = 2;
  /** n */
  // @ts-ignore: decorator
  @inline
  export const ATTEMPT_CODE: i32 = 3;
  /** b */
  // @ts-ignore: decorator
  @inline
  export const ATTEMPT_TEXT: i32 = 4;
}

/** Scopes: how long an attribute lasts. */
export namespace Scope {
  // @ts-ignore: decorator
  @inline
  export const SESSION: i32 = 0;
  // @ts-ignore: decorator
  @inline
  export const TRANSACTION: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const MESSAGE: i32 = 2;
  // @ts-ignore: decorator
  @inline
  export const RECIPIENT: i32 = 3;
}

/** Log levels. */
export namespace LogLevel {
  // @ts-ignore: decorator
  @inline
  export const DEBUG: i32 = 0;
  // @ts-ignore: decorator
  @inline
  export const INFO: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const WARN: i32 = 2;
  // @ts-ignore: decorator
  @inline
  export const ERROR: i32 = 3;
}

/** Features, for the function feature. */
export namespace Feature {
  // @ts-ignore: decorator
  @inline
  export const ENVELOPE_WRITE: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const HEADERS_READ: i32 = 2;
  // @ts-ignore: decorator
  @inline
  export const HEADERS_WRITE: i32 = 3;
  // @ts-ignore: decorator
  @inline
  export const BODY_READ: i32 = 4;
  // @ts-ignore: decorator
  @inline
  export const BODY_WRITE: i32 = 5;
  // @ts-ignore: decorator
  @inline
  export const KV: i32 = 16;
  // @ts-ignore: decorator
  @inline
  export const DNS: i32 = 17;
  // @ts-ignore: decorator
  @inline
  export const HTTP: i32 = 18;
  // @ts-ignore: decorator
  @inline
  export const CRYPTO: i32 = 19;
  // @ts-ignore: decorator
  @inline
  export const TABLE: i32 = 20;
  // @ts-ignore: decorator
  @inline
  export const EVENT: i32 = 21;
}

/** Flags of mta1_kv. */
export namespace KvFlag {
  /** set: only if there is no value */
  // @ts-ignore: decorator
  @inline
  export const IF_ABSENT: i32 = 1;
  /** set: only if there is one */
  // @ts-ignore: decorator
  @inline
  export const IF_PRESENT: i32 = 2;
  /** set: on disk before the call returns */
  // @ts-ignore: decorator
  @inline
  export const SYNC: i32 = 4;
  /** incr: give an existing counter the TTL anew */
  // @ts-ignore: decorator
  @inline
  export const REFRESH: i32 = 1;
}

/** Kinds of metrics. */
export namespace Metric {
  // @ts-ignore: decorator
  @inline
  export const COUNTER: i32 = 0;
  // @ts-ignore: decorator
  @inline
  export const GAUGE: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const HISTOGRAM: i32 = 2;
}

/** Algorithms of mta1_crypto. */
export namespace Alg {
  // @ts-ignore: decorator
  @inline
  export const SHA1: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const SHA256: i32 = 2;
  // @ts-ignore: decorator
  @inline
  export const SHA512: i32 = 3;
  /** PureEdDSA of what is given: for DKIM the SHA-256 (RFC 8463) */
  // @ts-ignore: decorator
  @inline
  export const ED25519: i32 = 16;
  /** PKCS #1 v1.5 of a SHA-256 */
  // @ts-ignore: decorator
  @inline
  export const RSA: i32 = 17;
  /** PSS of a SHA-256 */
  // @ts-ignore: decorator
  @inline
  export const RSAPSS: i32 = 18;
  /** of a SHA-256; the signature is ASN.1 */
  // @ts-ignore: decorator
  @inline
  export const ECDSAP256: i32 = 19;
}

/** Canonicalisations of a body (RFC 6376 3.4), for digest_body. */
export namespace Canon {
  // @ts-ignore: decorator
  @inline
  export const RAW: i32 = 0;
  // @ts-ignore: decorator
  @inline
  export const SIMPLE: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const RELAXED: i32 = 2;
}

/** Methods of mta1_http. */
export namespace Method {
  // @ts-ignore: decorator
  @inline
  export const GET: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const HEAD: i32 = 2;
  // @ts-ignore: decorator
  @inline
  export const POST: i32 = 3;
  // @ts-ignore: decorator
  @inline
  export const PUT: i32 = 4;
  // @ts-ignore: decorator
  @inline
  export const DELETE: i32 = 5;
  // @ts-ignore: decorator
  @inline
  export const PATCH: i32 = 6;
}

/** What start_msg of mta1_http sends. */
export namespace Send {
  // @ts-ignore: decorator
  @inline
  export const MESSAGE: i32 = 1;
  // @ts-ignore: decorator
  @inline
  export const BODY: i32 = 2;
  // @ts-ignore: decorator
  @inline
  export const HEADERS: i32 = 3;
}

/** Limits, most of them of one hook call. */
export namespace Max {
  // @ts-ignore: decorator
  @inline
  export const HOST_CALLS: i32 = 10000;
  // @ts-ignore: decorator
  @inline
  export const HEADER_EDITS: i32 = 64;
  /** added by edits */
  // @ts-ignore: decorator
  @inline
  export const HEADER_BYTES: i32 = 262144;
  // @ts-ignore: decorator
  @inline
  export const LOG_LINE: i32 = 4096;
  // @ts-ignore: decorator
  @inline
  export const LOG_LINES: i32 = 32;
  // @ts-ignore: decorator
  @inline
  export const KEY: i32 = 512;
  // @ts-ignore: decorator
  @inline
  export const ATTR_VALUE: i32 = 16384;
  // @ts-ignore: decorator
  @inline
  export const CONFIG: i32 = 1048576;
  // @ts-ignore: decorator
  @inline
  export const SCRIPT: i32 = 1048576;
  /** changes of fields, attributes and next hops */
  // @ts-ignore: decorator
  @inline
  export const EDITS: i32 = 256;
  /** changes of recipients */
  // @ts-ignore: decorator
  @inline
  export const RCPT_EDITS: i32 = 1000;
  /** calls of body_write and body_splice */
  // @ts-ignore: decorator
  @inline
  export const BODY_EDITS: i32 = 8192;
  /** attributes in one scope, of all plugins */
  // @ts-ignore: decorator
  @inline
  export const ATTRS: i32 = 1000;
  /** of query, prefetch and dnsbl for different questions */
  // @ts-ignore: decorator
  @inline
  export const DNS_CALLS: i32 = 30;
  /** of prefetch */
  // @ts-ignore: decorator
  @inline
  export const DNS_IN_FLIGHT: i32 = 8;
  /** of start and start_msg */
  // @ts-ignore: decorator
  @inline
  export const HTTP_CALLS: i32 = 4;
  /** handles at a time */
  // @ts-ignore: decorator
  @inline
  export const HTTP_OPEN: i32 = 2;
  /** in a second, of one plugin */
  // @ts-ignore: decorator
  @inline
  export const HTTP_RATE: i32 = 20;
  /** milliseconds, of one request */
  // @ts-ignore: decorator
  @inline
  export const HTTP_TIME: i32 = 10000;
  /** octets of a body that is given to start */
  // @ts-ignore: decorator
  @inline
  export const HTTP_REQUEST: i32 = 262144;
  /** octets of a body */
  // @ts-ignore: decorator
  @inline
  export const HTTP_RESPONSE: i32 = 1048576;
  /** handles at a time */
  // @ts-ignore: decorator
  @inline
  export const DIGESTS: i32 = 8;
  // @ts-ignore: decorator
  @inline
  export const SIGN_CALLS: i32 = 16;
  // @ts-ignore: decorator
  @inline
  export const PASSWORD_CALLS: i32 = 4;
  // @ts-ignore: decorator
  @inline
  export const KV_CALLS: i32 = 64;
  // @ts-ignore: decorator
  @inline
  export const KV_KEY: i32 = 512;
  // @ts-ignore: decorator
  @inline
  export const KV_VALUE: i32 = 65536;
  /** of one plugin */
  // @ts-ignore: decorator
  @inline
  export const KV_KEYS: i32 = 1000000;
  // @ts-ignore: decorator
  @inline
  export const EVENT_CALLS: i32 = 16;
  // @ts-ignore: decorator
  @inline
  export const EVENT: i32 = 65536;
  // @ts-ignore: decorator
  @inline
  export const TOPIC: i32 = 64;
  /** of one plugin */
  // @ts-ignore: decorator
  @inline
  export const METRICS: i32 = 64;
  // @ts-ignore: decorator
  @inline
  export const METRIC_NAME: i32 = 64;
}

// The functions of the host. Results below zero are those of Code.

/** a field of kind b */
// @ts-ignore: decorator
@external("mta1", "get")
export declare function host_get(field: i32, buf: usize, cap: i32): i32;

/** a field of kind n, from 0 up */
// @ts-ignore: decorator
@external("mta1", "get_num")
export declare function host_get_num(field: i32): i64;

/** change a field of kind b */
// @ts-ignore: decorator
@external("mta1", "set")
export declare function host_set(field: i32, ptr: usize, len: i32): i32;

/** change a field of kind n */
// @ts-ignore: decorator
@external("mta1", "set_num")
export declare function host_set_num(field: i32, value: i64): i32;

/** the number of elements */
// @ts-ignore: decorator
@external("mta1", "list_len")
export declare function host_list_len(list: i32): i32;

/** a field of an element, kind b */
// @ts-ignore: decorator
@external("mta1", "list_get")
export declare function host_list_get(list: i32, idx: i32, field: i32, buf: usize, cap: i32): i32;

/** a field of an element, kind n */
// @ts-ignore: decorator
@external("mta1", "list_num")
export declare function host_list_num(list: i32, idx: i32, field: i32): i64;

/** change a field of an element */
// @ts-ignore: decorator
@external("mta1", "list_set")
export declare function host_list_set(list: i32, idx: i32, field: i32, ptr: usize, len: i32): i32;

/** insert before idx; -1 is the end */
// @ts-ignore: decorator
@external("mta1", "list_insert")
export declare function host_list_insert(list: i32, idx: i32, ptr: usize, len: i32): i32;

/** remove an element */
// @ts-ignore: decorator
@external("mta1", "list_remove")
export declare function host_list_remove(list: i32, idx: i32): i32;

/** index of the first match at or after from, without regard to case */
// @ts-ignore: decorator
@external("mta1", "list_find")
export declare function host_list_find(list: i32, from: i32, key: usize, klen: i32): i32;

/** the reply of this call's verdict; section 4 */
// @ts-ignore: decorator
@external("mta1", "reply")
export declare function host_reply(code: i32, enh: i32, ptr: usize, len: i32): i32;

/** octets of the body from off; the number read, 0 at the end */
// @ts-ignore: decorator
@external("mta1", "body_read")
export declare function host_body_read(off: i64, buf: usize, cap: i32): i32;

/** append octets to the new body */
// @ts-ignore: decorator
@external("mta1", "body_write")
export declare function host_body_write(ptr: usize, len: i32): i32;

/** append octets of the old body from off to the new one; len -1: all that follow */
// @ts-ignore: decorator
@external("mta1", "body_splice")
export declare function host_body_splice(off: i64, len: i64): i32;

/** an attribute */
// @ts-ignore: decorator
@external("mta1", "attr_get")
export declare function host_attr_get(scope: i32, key: usize, klen: i32, buf: usize, cap: i32): i32;

/** set an attribute */
// @ts-ignore: decorator
@external("mta1", "attr_set")
export declare function host_attr_set(scope: i32, key: usize, klen: i32, ptr: usize, len: i32): i32;

/** delete an attribute; E_NOT_FOUND: it was not set */
// @ts-ignore: decorator
@external("mta1", "attr_del")
export declare function host_attr_del(scope: i32, key: usize, klen: i32): i32;

/** the configuration: klen 0 all of it as JSON, otherwise a member of the object: a string as its text, anything else as JSON */
// @ts-ignore: decorator
@external("mta1", "config")
export declare function host_config(key: usize, klen: i32, buf: usize, cap: i32): i32;

/** a secret of the operator */
// @ts-ignore: decorator
@external("mta1", "secret")
export declare function host_secret(name: usize, nlen: i32, buf: usize, cap: i32): i32;

/** a line for the log: 0 debug, 1 info, 2 warning, 3 error */
// @ts-ignore: decorator
@external("mta1", "log")
export declare function host_log(level: i32, ptr: usize, len: i32): i32;

/** the lowest level that is kept */
// @ts-ignore: decorator
@external("mta1", "log_level")
export declare function host_log_level(): i32;

/** milliseconds since 1970 */
// @ts-ignore: decorator
@external("mta1", "now_ms")
export declare function host_now_ms(): i64;

/** nanoseconds of a clock that is never set */
// @ts-ignore: decorator
@external("mta1", "mono_ns")
export declare function host_mono_ns(): i64;

/** cryptographic random octets, at most 65536 */
// @ts-ignore: decorator
@external("mta1", "random")
export declare function host_random(buf: usize, len: i32): i32;

/** the id of a series of metrics; in mta1_init */
// @ts-ignore: decorator
@external("mta1", "metric_def")
export declare function host_metric_def(kind: i32, name: usize, nlen: i32): i32;

/** a sample */
// @ts-ignore: decorator
@external("mta1", "metric_add")
export declare function host_metric_add(id: i32, value: i64): i32;

/** 1: this server has it and the plugin is granted it; 0: no */
// @ts-ignore: decorator
@external("mta1", "feature")
export declare function host_feature(id: i32): i32;

// The module mta1_kv; the contract says what it needs.

// @ts-ignore: decorator
@external("mta1_kv", "get")
export declare function kv_get(key: usize, klen: i32, buf: usize, cap: i32): i32;

// @ts-ignore: decorator
@external("mta1_kv", "set")
export declare function kv_set(key: usize, klen: i32, val: usize, vlen: i32, ttl_ms: i64, flags: i32): i32;

// @ts-ignore: decorator
@external("mta1_kv", "del")
export declare function kv_del(key: usize, klen: i32): i32;

// @ts-ignore: decorator
@external("mta1_kv", "incr")
export declare function kv_incr(key: usize, klen: i32, delta: i64, ttl_ms: i64, flags: i32): i64;

// @ts-ignore: decorator
@external("mta1_kv", "take")
export declare function kv_take(key: usize, klen: i32, cost: i32, burst: i32, per_sec_milli: i64): i64;

// @ts-ignore: decorator
@external("mta1_kv", "cas")
export declare function kv_cas(key: usize, klen: i32, old: usize, olen: i32, new_: usize, nlen: i32, ttl_ms: i64): i32;

// The module mta1_dns; the contract says what it needs.

// @ts-ignore: decorator
@external("mta1_dns", "prefetch")
export declare function dns_prefetch(type_: i32, name: usize, nlen: i32): i32;

// @ts-ignore: decorator
@external("mta1_dns", "query")
export declare function dns_query(type_: i32, name: usize, nlen: i32, buf: usize, cap: i32): i32;

// @ts-ignore: decorator
@external("mta1_dns", "dnsbl")
export declare function dns_dnsbl(zone: usize, zlen: i32, ip: usize, iplen: i32, out4: usize): i32;

// The module mta1_http; the contract says what it needs.

// @ts-ignore: decorator
@external("mta1_http", "start")
export declare function http_start(method: i32, url: usize, ulen: i32, hdr: usize, hlen: i32, body: usize, blen: i32, timeout_ms: i32): i32;

// @ts-ignore: decorator
@external("mta1_http", "start_msg")
export declare function http_start_msg(url: usize, ulen: i32, hdr: usize, hlen: i32, what: i32, timeout_ms: i32): i32;

// @ts-ignore: decorator
@external("mta1_http", "wait")
export declare function http_wait(handle: i32, timeout_ms: i32): i32;

// @ts-ignore: decorator
@external("mta1_http", "header")
export declare function http_header(handle: i32, name: usize, nlen: i32, buf: usize, cap: i32): i32;

// @ts-ignore: decorator
@external("mta1_http", "read")
export declare function http_read(handle: i32, buf: usize, cap: i32): i32;

// @ts-ignore: decorator
@external("mta1_http", "close")
export declare function http_close(handle: i32): i32;

// The module mta1_crypto; the contract says what it needs.

// @ts-ignore: decorator
@external("mta1_crypto", "digest")
export declare function crypto_digest(alg: i32, ptr: usize, len: i32, out: usize, cap: i32): i32;

// @ts-ignore: decorator
@external("mta1_crypto", "digest_open")
export declare function crypto_digest_open(alg: i32): i32;

// @ts-ignore: decorator
@external("mta1_crypto", "digest_update")
export declare function crypto_digest_update(h: i32, ptr: usize, len: i32): i32;

// @ts-ignore: decorator
@external("mta1_crypto", "digest_body")
export declare function crypto_digest_body(h: i32, off: i64, len: i64, canon: i32): i32;

// @ts-ignore: decorator
@external("mta1_crypto", "digest_final")
export declare function crypto_digest_final(h: i32, out: usize, cap: i32): i32;

// @ts-ignore: decorator
@external("mta1_crypto", "verify")
export declare function crypto_verify(alg: i32, key: usize, klen: i32, sig: usize, slen: i32, dig: usize, dlen: i32): i32;

// @ts-ignore: decorator
@external("mta1_crypto", "sign")
export declare function crypto_sign(keyname: usize, nlen: i32, alg: i32, dig: usize, dlen: i32, out: usize, cap: i32): i32;

// @ts-ignore: decorator
@external("mta1_crypto", "hmac")
export declare function crypto_hmac(keyname: usize, nlen: i32, alg: i32, ptr: usize, len: i32, out: usize, cap: i32): i32;

// @ts-ignore: decorator
@external("mta1_crypto", "password_verify")
export declare function crypto_password_verify(hash: usize, hlen: i32, pw: usize, pwlen: i32): i32;

// The module mta1_table; the contract says what it needs.

// @ts-ignore: decorator
@external("mta1_table", "lookup")
export declare function table_lookup(table: usize, tlen: i32, key: usize, klen: i32, buf: usize, cap: i32): i32;

// The module mta1_event; the contract says what it needs.

// @ts-ignore: decorator
@external("mta1_event", "emit")
export declare function event_emit(topic: usize, tlen: i32, data: usize, dlen: i32): i32;
