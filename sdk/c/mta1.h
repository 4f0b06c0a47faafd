/* mta1.h: plugins for wasmta in C and C++, ABI v1. README.md beside it begins
 * from nothing; hostapi/abi/README.md is the contract.
 *
 *   #include "mta1.h"
 *
 *   MTA1_INIT { return 0; }
 *
 *   MTA1_HOOK(rcpt) {
 *     if (mta1_is(mta1_rcpt_text(mta1_rcpt(), MTA1_RCPT_LOCAL), "nobody"))
 *       return mta1_reject(550, "5.1.1", "there is no such mailbox");
 *     return MTA1_CONTINUE;
 *   }
 *
 * No library is needed, no allocator, and no start code. Everything is static:
 * what a plugin does not use is not in it. Texts that the host gives live in a
 * scratch buffer, those of a hook until it returns, those of MTA1_INIT for
 * ever. An instance is called by one thread and serves one session.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MTA1_H
#define MTA1_H

#include <stddef.h>
#include <stdint.h>

#ifndef __wasm__
#error "mta1.h is for the target wasm32: clang --target=wasm32"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define MTA1_EXPORT(name) __attribute__((export_name(#name), visibility("default")))
#define MTA1_IMPORT(module, name) __attribute__((import_module(#module), import_name(#name)))

/* The rest up to the end mark is generated from hostapi/abi: go run ./hostapi/abi/generate */
#define MTA1_MAJOR 1
#define MTA1_MINOR 0

/* Error codes: what a function returns below zero. */
enum mta1_code {
  MTA1_OK = 0,
  MTA1_E_INVAL = -1,             /* an argument is malformed */
  MTA1_E_NOT_FOUND = -2,         /* there is no such thing */
  MTA1_E_DENIED = -3,            /* not granted */
  MTA1_E_STATE = -4,             /* not in this hook */
  MTA1_E_LIMIT = -5,             /* a quota is used up */
  MTA1_E_TIMEOUT = -6,           /* the host could not answer in time */
  MTA1_E_UNSUPPORTED = -7,       /* unknown field, list, scope, algorithm */
  MTA1_E_UNAVAIL = -8,           /* a temporary fault on the host's side */
  MTA1_E_CONFLICT = -9,          /* compare-and-swap: changed meanwhile; or the field may occur once */
  MTA1_E_TOO_LARGE = -10,        /* more than the host takes */
  MTA1_E_BAD_SIG = -11,          /* the signature does not verify */
  MTA1_E_NXDOMAIN = -20,
  MTA1_E_SERVFAIL = -21,
  MTA1_E_BOGUS = -22,            /* DNSSEC */
};

/* Actions: the low octet of a verdict. */
enum mta1_action {
  MTA1_CONTINUE = 0,
  MTA1_ACCEPT = 1,
  MTA1_REJECT = 2,
  MTA1_DEFER = 3,
  MTA1_DISCARD = 4,
  MTA1_HOLD = 5,
  MTA1_DROP = 6,
};

/* Flags: the second octet of a verdict. */
enum mta1_flag {
  MTA1_DETACH_TX = 1,
  MTA1_DETACH_SESSION = 2,
  MTA1_NO_REPLY = 4,             /* with DROP */
};

/* Fields, for get, get_num, set and set_num. b: octets, n: a number, set: may be changed. */
enum mta1_field {
  /* connection */
  MTA1_F_REMOTE_IP = 0x0101,     /* b */
  MTA1_F_REMOTE_PORT = 0x0102,   /* n */
  MTA1_F_LOCAL_IP = 0x0103,      /* b */
  MTA1_F_LOCAL_PORT = 0x0104,    /* n */
  MTA1_F_LISTENER = 0x0105,      /* b, its name in the configuration */
  MTA1_F_PTR_NAME = 0x0106,      /* b, forward-confirmed; E_NOT_FOUND: none */
  MTA1_F_SESSION_ID = 0x0107,    /* b */
  MTA1_F_CONN_COUNT_IP = 0x0108, /* n, open connections from this address, or its IPv6 /64 */
  MTA1_F_PROXY_IP = 0x0109,      /* b, the proxy's address if one spoke for the client */
  MTA1_F_BANNER = 0x010a,        /* b set, at connect: the text of the 220 reply */
  /* HELO and TLS */
  MTA1_F_HELO = 0x0201,          /* b */
  MTA1_F_ESMTP = 0x0202,         /* n, 1: EHLO or LHLO */
  MTA1_F_TLS = 0x0203,           /* n, 1: the connection is encrypted */
  MTA1_F_TLS_VERSION = 0x0204,   /* n, 0x0303 or 0x0304 */
  MTA1_F_TLS_CIPHER = 0x0205,    /* b */
  MTA1_F_TLS_SNI = 0x0206,       /* b */
  MTA1_F_CLIENT_CERT_FP = 0x0207, /* b, SHA-256 in hex */
  MTA1_F_EXTENSIONS = 0x0208,    /* b set, at ehlo: EHLO keywords, one a line */
  MTA1_F_CLIENT_CERT_NAMES = 0x0209, /* b, names in the client's certificate if it was verified, one a line */
  /* authentication */
  MTA1_F_AUTH_MECH = 0x0301,     /* b, the SASL mechanism */
  MTA1_F_AUTH_USER = 0x0302,     /* b, the name that the client gives, or gave when it was authenticated */
  MTA1_F_AUTH_PASS = 0x0303,     /* b, at auth: the password or token; needs the grant auth_password */
  MTA1_F_AUTH_ID = 0x0304,       /* b set, the authenticated identity; at auth: the one asked for */
  MTA1_F_AUTH_SCRAM = 0x0305,    /* b set, at auth by SCRAM: the keys of AUTH_USER; needs the grant auth_password */
  /* transaction */
  MTA1_F_TX_ID = 0x0401,         /* b */
  MTA1_F_MAIL_FROM = 0x0402,     /* b set, the reverse-path without brackets; empty: null */
  MTA1_F_MAIL_SIZE = 0x0403,     /* n, SIZE as declared */
  MTA1_F_MAIL_BODY = 0x0404,     /* n, 0 unspecified 1 7BIT 2 8BITMIME 3 BINARYMIME */
  MTA1_F_SMTPUTF8 = 0x0405,      /* n */
  MTA1_F_REQUIRETLS = 0x0406,    /* n */
  MTA1_F_DSN_RET = 0x0407,       /* n, 0 unspecified 1 FULL 2 HDRS */
  MTA1_F_DSN_ENVID = 0x0408,     /* b */
  MTA1_F_RCPT_COUNT = 0x0409,    /* n */
  MTA1_F_CUR_RCPT = 0x040a,      /* n, index into list RCPT */
  MTA1_F_SIZE_LIMIT = 0x040b,    /* n set, at data: octets, may be lowered */
  MTA1_F_VERB = 0x040c,          /* b, at command */
  MTA1_F_ARGUMENT = 0x040d,      /* b, at command */
  MTA1_F_REASON = 0x040e,        /* b, at reset and close */
  MTA1_F_HOLD_UNTIL = 0x040f,    /* n, of FUTURERELEASE: ms since 1970; E_NOT_FOUND: at once */
  MTA1_F_DELIVER_BY = 0x0410,    /* n, of BY: ms since 1970; E_NOT_FOUND: no deadline */
  MTA1_F_DELIVER_BY_MODE = 0x0411, /* n, 1 N 2 R; E_NOT_FOUND: no deadline */
  MTA1_F_MT_PRIORITY = 0x0412,   /* b, of MT-PRIORITY: -9 to 9 in decimal */
  /* message */
  MTA1_F_MSG_SIZE = 0x0501,      /* n, octets of the content */
  MTA1_F_BODY_SIZE = 0x0502,     /* n */
  MTA1_F_RAW_HEADERS = 0x0503,   /* b, the header block */
  MTA1_F_HEADER_COUNT = 0x0504,  /* n */
  MTA1_F_RECEIVED_COUNT = 0x0505, /* n */
  MTA1_F_MSG_ID = 0x0506,        /* b, the Message-ID field's value */
  MTA1_F_TENANT = 0x0507,        /* b */
  MTA1_F_SPF_RESULT = 0x0508,    /* b */
  MTA1_F_DKIM_RESULT = 0x0509,   /* b */
  MTA1_F_DMARC_RESULT = 0x050a,  /* b */
  MTA1_F_ARC_RESULT = 0x050b,    /* b */
  /* queue */
  MTA1_F_QUEUE_ID = 0x0601,      /* b */
  MTA1_F_DOMAIN = 0x0602,        /* b, of the recipients */
  MTA1_F_ATTEMPT = 0x0603,       /* n, 1 for the first */
  MTA1_F_FIRST_QUEUED = 0x0604,  /* n, ms since 1970 */
  MTA1_F_LAST_CODE = 0x0605,     /* n, of the last remote reply; 0 none */
  MTA1_F_LAST_TEXT = 0x0606,     /* b */
  MTA1_F_LAST_MX = 0x0607,       /* b */
  MTA1_F_NEXT_RETRY = 0x0608,    /* n set, ms since 1970 */
  MTA1_F_EXPIRE = 0x0609,        /* n set, ms since 1970 */
  MTA1_F_PRIORITY = 0x060a,      /* n set, higher first; 0 normal */
  MTA1_F_POOL = 0x060b,          /* b set */
  MTA1_F_TLS_POLICY = 0x060c,    /* n set, 0 opportunistic 1 none 2 encrypt 3 verify */
  MTA1_F_TRANSPORT = 0x060d,     /* b set, a next hop as the configuration writes it: smtp:HOST:PORT, lmtp:..., maildir:..., mx, discard */
  MTA1_F_EHLO_NAME = 0x060e,     /* b set */
  MTA1_F_SOURCE_IP = 0x060f,     /* b set, local address to connect from */
  MTA1_F_SUSPEND_UNTIL = 0x0610, /* n set, at result: ms since 1970, until when nothing is sent to the next hop */
  MTA1_F_DSN_ACTION = 0x0611,    /* b, of the notification: failed, delayed, delivered */
  MTA1_F_DSN_TO = 0x0612,        /* b set, whom the notification is for */
  MTA1_F_DSN_TEXT = 0x0613,      /* b set, its text for people */
  /* plugin */
  MTA1_F_PLUGIN = 0x0701,        /* b */
  MTA1_F_GENERATION = 0x0702,    /* b */
  MTA1_F_HOST_VERSION = 0x0703,  /* b */
  MTA1_F_HOST_ABI_MINOR = 0x0704, /* n */
  MTA1_F_FUEL_LEFT = 0x0705,     /* n */
  MTA1_F_WALL_LEFT_MS = 0x0706,  /* n, ms */
  MTA1_F_MEM_LIMIT = 0x0707,     /* n, octets */
  MTA1_F_SHADOW = 0x0708,        /* n */
  MTA1_F_DNS_TTL = 0x0709,       /* n */
  MTA1_F_DNS_AD = 0x070a,        /* n */
  MTA1_F_SCRIPT = 0x070b,        /* b, the section ScriptSection of the module */
};

/* Lists. */
enum mta1_list {
  MTA1_LIST_RCPT = 1,            /* recipients */
  MTA1_LIST_HEADER = 2,          /* header fields */
  MTA1_LIST_ROUTE = 3,           /* next hops */
  MTA1_LIST_ATTEMPT = 4,         /* past attempts, oldest first */
  MTA1_LIST_RECEIVED = 5,        /* the Received fields */
};

/* Fields of the lists' elements. */
enum mta1_element {
  MTA1_RCPT_ADDR = 1,            /* b set */
  MTA1_RCPT_ORCPT = 2,           /* b */
  MTA1_RCPT_NOTIFY = 3,          /* n, 1 NEVER 2 SUCCESS 4 FAILURE 8 DELAY, a sum; 0 not said */
  MTA1_RCPT_LOCAL = 4,           /* b, unquoted local part */
  MTA1_RCPT_DOMAIN = 5,          /* b, lower case, A-labels */
  MTA1_RCPT_ORIGINAL = 6,        /* b, before a rewrite */
  MTA1_RCPT_STATUS = 7,          /* n, at result and dsn: 0 deferred 1 delivered 2 failed */
  MTA1_RCPT_VALID_SINCE = 8,     /* n, of RRVS: ms since 1970; E_NOT_FOUND: not asked */
  MTA1_HEADER_NAME = 1,          /* b */
  MTA1_HEADER_VALUE = 2,         /* b set, unfolded */
  MTA1_HEADER_RAW = 3,           /* b, with folds and CRLF */
  MTA1_ROUTE_HOST = 1,           /* b */
  MTA1_ROUTE_PORT = 2,           /* n */
  MTA1_ROUTE_PREF = 3,           /* n */
  MTA1_ATTEMPT_TIME = 1,         /* n, ms since 1970 */
  MTA1_ATTEMPT_RELAY = 2,        /* b */
  MTA1_ATTEMPT_CODE = 3,         /* n */
  MTA1_ATTEMPT_TEXT = 4,         /* b */
};

/* Scopes: how long an attribute lasts. */
enum mta1_scope {
  MTA1_SCOPE_SESSION = 0,
  MTA1_SCOPE_TRANSACTION = 1,
  MTA1_SCOPE_MESSAGE = 2,
  MTA1_SCOPE_RECIPIENT = 3,
};

/* Log levels. */
enum mta1_log_level {
  MTA1_LOG_DEBUG = 0,
  MTA1_LOG_INFO = 1,
  MTA1_LOG_WARN = 2,
  MTA1_LOG_ERROR = 3,
};

/* Features, for the function feature. */
enum mta1_feature {
  MTA1_FEATURE_ENVELOPE_WRITE = 1,
  MTA1_FEATURE_HEADERS_READ = 2,
  MTA1_FEATURE_HEADERS_WRITE = 3,
  MTA1_FEATURE_BODY_READ = 4,
  MTA1_FEATURE_BODY_WRITE = 5,
  MTA1_FEATURE_KV = 16,
  MTA1_FEATURE_DNS = 17,
  MTA1_FEATURE_HTTP = 18,
  MTA1_FEATURE_CRYPTO = 19,
  MTA1_FEATURE_TABLE = 20,
  MTA1_FEATURE_EVENT = 21,
};

/* Flags of mta1_kv. */
enum mta1_kv_flag {
  MTA1_KV_IF_ABSENT = 1,         /* set: only if there is no value */
  MTA1_KV_IF_PRESENT = 2,        /* set: only if there is one */
  MTA1_KV_SYNC = 4,              /* set: on disk before the call returns */
  MTA1_KV_REFRESH = 1,           /* incr: give an existing counter the TTL anew */
};

/* Kinds of metrics. */
enum mta1_metric {
  MTA1_METRIC_COUNTER = 0,
  MTA1_METRIC_GAUGE = 1,
  MTA1_METRIC_HISTOGRAM = 2,
};

/* Algorithms of mta1_crypto. */
enum mta1_alg {
  MTA1_ALG_SHA1 = 1,
  MTA1_ALG_SHA256 = 2,
  MTA1_ALG_SHA512 = 3,
  MTA1_ALG_ED25519 = 16,         /* PureEdDSA of what is given: for DKIM the SHA-256 (RFC 8463) */
  MTA1_ALG_RSA = 17,             /* PKCS #1 v1.5 of a SHA-256 */
  MTA1_ALG_RSAPSS = 18,          /* PSS of a SHA-256 */
  MTA1_ALG_ECDSAP256 = 19,       /* of a SHA-256; the signature is ASN.1 */
};

/* Canonicalisations of a body (RFC 6376 3.4), for digest_body. */
enum mta1_canon {
  MTA1_CANON_RAW = 0,
  MTA1_CANON_SIMPLE = 1,
  MTA1_CANON_RELAXED = 2,
};

/* Methods of mta1_http. */
enum mta1_method {
  MTA1_HTTP_GET = 1,
  MTA1_HTTP_HEAD = 2,
  MTA1_HTTP_POST = 3,
  MTA1_HTTP_PUT = 4,
  MTA1_HTTP_DELETE = 5,
  MTA1_HTTP_PATCH = 6,
};

/* What start_msg of mta1_http sends. */
enum mta1_send {
  MTA1_SEND_MESSAGE = 1,
  MTA1_SEND_BODY = 2,
  MTA1_SEND_HEADERS = 3,
};

/* Limits, most of them of one hook call. */
enum mta1_max {
  MTA1_MAX_HOST_CALLS = 10000,
  MTA1_MAX_HEADER_EDITS = 64,
  MTA1_MAX_HEADER_BYTES = 262144, /* added by edits */
  MTA1_MAX_LOG_LINE = 4096,
  MTA1_MAX_LOG_LINES = 32,
  MTA1_MAX_KEY = 512,
  MTA1_MAX_ATTR_VALUE = 16384,
  MTA1_MAX_CONFIG = 1048576,
  MTA1_MAX_SCRIPT = 1048576,
  MTA1_MAX_EDITS = 256,          /* changes of fields, attributes and next hops */
  MTA1_MAX_RCPT_EDITS = 1000,    /* changes of recipients */
  MTA1_MAX_BODY_EDITS = 8192,    /* calls of body_write and body_splice */
  MTA1_MAX_ATTRS = 1000,         /* attributes in one scope, of all plugins */
  MTA1_MAX_DNS_CALLS = 30,       /* of query, prefetch and dnsbl for different questions */
  MTA1_MAX_DNS_IN_FLIGHT = 8,    /* of prefetch */
  MTA1_MAX_HTTP_CALLS = 4,       /* of start and start_msg */
  MTA1_MAX_HTTP_OPEN = 2,        /* handles at a time */
  MTA1_MAX_HTTP_RATE = 20,       /* in a second, of one plugin */
  MTA1_MAX_HTTP_TIME = 10000,    /* milliseconds, of one request */
  MTA1_MAX_HTTP_REQUEST = 262144, /* octets of a body that is given to start */
  MTA1_MAX_HTTP_RESPONSE = 1048576, /* octets of a body */
  MTA1_MAX_DIGESTS = 8,          /* handles at a time */
  MTA1_MAX_SIGN_CALLS = 16,
  MTA1_MAX_PASSWORD_CALLS = 4,
  MTA1_MAX_KV_CALLS = 64,
  MTA1_MAX_KV_KEY = 512,
  MTA1_MAX_KV_VALUE = 65536,
  MTA1_MAX_KV_KEYS = 1000000,    /* of one plugin */
  MTA1_MAX_EVENT_CALLS = 16,
  MTA1_MAX_EVENT = 65536,
  MTA1_MAX_TOPIC = 64,
  MTA1_MAX_METRICS = 64,         /* of one plugin */
  MTA1_MAX_METRIC_NAME = 64,
};

/* The hooks: to define one is to subscribe to it. */
MTA1_EXPORT(mta1_on_connect) int32_t mta1_on_connect(void);
MTA1_EXPORT(mta1_on_tls) int32_t mta1_on_tls(void);
MTA1_EXPORT(mta1_on_ehlo) int32_t mta1_on_ehlo(void);
MTA1_EXPORT(mta1_on_auth) int32_t mta1_on_auth(void);
MTA1_EXPORT(mta1_on_command) int32_t mta1_on_command(void);
MTA1_EXPORT(mta1_on_mail) int32_t mta1_on_mail(void);
MTA1_EXPORT(mta1_on_rcpt) int32_t mta1_on_rcpt(void);
MTA1_EXPORT(mta1_on_data) int32_t mta1_on_data(void);
MTA1_EXPORT(mta1_on_headers) int32_t mta1_on_headers(void);
MTA1_EXPORT(mta1_on_message) int32_t mta1_on_message(void);
MTA1_EXPORT(mta1_on_reset) int32_t mta1_on_reset(void);
MTA1_EXPORT(mta1_on_close) int32_t mta1_on_close(void);
MTA1_EXPORT(mta1_on_route) int32_t mta1_on_route(void);
MTA1_EXPORT(mta1_on_attempt) int32_t mta1_on_attempt(void);
MTA1_EXPORT(mta1_on_result) int32_t mta1_on_result(void);
MTA1_EXPORT(mta1_on_dsn) int32_t mta1_on_dsn(void);
MTA1_EXPORT(mta1_on_tick) int32_t mta1_on_tick(void);

/* The functions of the host. Results below zero are those of mta1_code. */
/* a field of kind b */
MTA1_IMPORT(mta1, get) int32_t mta1_host_get(int32_t field, void *buf, uint32_t cap);
/* a field of kind n, from 0 up */
MTA1_IMPORT(mta1, get_num) int64_t mta1_host_get_num(int32_t field);
/* change a field of kind b */
MTA1_IMPORT(mta1, set) int32_t mta1_host_set(int32_t field, const void *ptr, uint32_t len);
/* change a field of kind n */
MTA1_IMPORT(mta1, set_num) int32_t mta1_host_set_num(int32_t field, int64_t value);
/* the number of elements */
MTA1_IMPORT(mta1, list_len) int32_t mta1_host_list_len(int32_t list);
/* a field of an element, kind b */
MTA1_IMPORT(mta1, list_get) int32_t mta1_host_list_get(int32_t list, int32_t idx, int32_t field, void *buf, uint32_t cap);
/* a field of an element, kind n */
MTA1_IMPORT(mta1, list_num) int64_t mta1_host_list_num(int32_t list, int32_t idx, int32_t field);
/* change a field of an element */
MTA1_IMPORT(mta1, list_set) int32_t mta1_host_list_set(int32_t list, int32_t idx, int32_t field, const void *ptr, uint32_t len);
/* insert before idx; -1 is the end */
MTA1_IMPORT(mta1, list_insert) int32_t mta1_host_list_insert(int32_t list, int32_t idx, const void *ptr, uint32_t len);
/* remove an element */
MTA1_IMPORT(mta1, list_remove) int32_t mta1_host_list_remove(int32_t list, int32_t idx);
/* index of the first match at or after from, without regard to case */
MTA1_IMPORT(mta1, list_find) int32_t mta1_host_list_find(int32_t list, int32_t from, const void *key, uint32_t klen);
/* the reply of this call's verdict; section 4 */
MTA1_IMPORT(mta1, reply) int32_t mta1_host_reply(int32_t code, int32_t enh, const void *ptr, uint32_t len);
/* octets of the body from off; the number read, 0 at the end */
MTA1_IMPORT(mta1, body_read) int32_t mta1_host_body_read(int64_t off, void *buf, uint32_t cap);
/* append octets to the new body */
MTA1_IMPORT(mta1, body_write) int32_t mta1_host_body_write(const void *ptr, uint32_t len);
/* append octets of the old body from off to the new one; len -1: all that follow */
MTA1_IMPORT(mta1, body_splice) int32_t mta1_host_body_splice(int64_t off, int64_t len);
/* an attribute */
MTA1_IMPORT(mta1, attr_get) int32_t mta1_host_attr_get(int32_t scope, const void *key, uint32_t klen, void *buf, uint32_t cap);
/* set an attribute */
MTA1_IMPORT(mta1, attr_set) int32_t mta1_host_attr_set(int32_t scope, const void *key, uint32_t klen, const void *ptr, uint32_t len);
/* delete an attribute; E_NOT_FOUND: it was not set */
MTA1_IMPORT(mta1, attr_del) int32_t mta1_host_attr_del(int32_t scope, const void *key, uint32_t klen);
/* the configuration: klen 0 all of it as JSON, otherwise a member of the object: a string as its text, anything else as JSON */
MTA1_IMPORT(mta1, config) int32_t mta1_host_config(const void *key, uint32_t klen, void *buf, uint32_t cap);
/* a secret of the operator */
MTA1_IMPORT(mta1, secret) int32_t mta1_host_secret(const void *name, uint32_t nlen, void *buf, uint32_t cap);
/* a line for the log: 0 debug, 1 info, 2 warning, 3 error */
MTA1_IMPORT(mta1, log) int32_t mta1_host_log(int32_t level, const void *ptr, uint32_t len);
/* the lowest level that is kept */
MTA1_IMPORT(mta1, log_level) int32_t mta1_host_log_level(void);
/* milliseconds since 1970 */
MTA1_IMPORT(mta1, now_ms) int64_t mta1_host_now_ms(void);
/* nanoseconds of a clock that is never set */
MTA1_IMPORT(mta1, mono_ns) int64_t mta1_host_mono_ns(void);
/* cryptographic random octets, at most 65536 */
MTA1_IMPORT(mta1, random) int32_t mta1_host_random(void *buf, uint32_t len);
/* the id of a series of metrics; in mta1_init */
MTA1_IMPORT(mta1, metric_def) int32_t mta1_host_metric_def(int32_t kind, const void *name, uint32_t nlen);
/* a sample */
MTA1_IMPORT(mta1, metric_add) int32_t mta1_host_metric_add(int32_t id, int64_t value);
/* 1: this server has it and the plugin is granted it; 0: no */
MTA1_IMPORT(mta1, feature) int32_t mta1_host_feature(int32_t id);

/* The module mta1_kv; the contract says what it needs. */
MTA1_IMPORT(mta1_kv, get) int32_t mta1_host_kv_get(const void *key, uint32_t klen, void *buf, uint32_t cap);
MTA1_IMPORT(mta1_kv, set) int32_t mta1_host_kv_set(const void *key, uint32_t klen, const void *val, uint32_t vlen, int64_t ttl_ms, int32_t flags);
MTA1_IMPORT(mta1_kv, del) int32_t mta1_host_kv_del(const void *key, uint32_t klen);
MTA1_IMPORT(mta1_kv, incr) int64_t mta1_host_kv_incr(const void *key, uint32_t klen, int64_t delta, int64_t ttl_ms, int32_t flags);
MTA1_IMPORT(mta1_kv, take) int64_t mta1_host_kv_take(const void *key, uint32_t klen, int32_t cost, int32_t burst, int64_t per_sec_milli);
MTA1_IMPORT(mta1_kv, cas) int32_t mta1_host_kv_cas(const void *key, uint32_t klen, const void *old, uint32_t olen, const void *new_, uint32_t nlen, int64_t ttl_ms);

/* The module mta1_dns; the contract says what it needs. */
MTA1_IMPORT(mta1_dns, prefetch) int32_t mta1_host_dns_prefetch(int32_t type_, const void *name, uint32_t nlen);
MTA1_IMPORT(mta1_dns, query) int32_t mta1_host_dns_query(int32_t type_, const void *name, uint32_t nlen, void *buf, uint32_t cap);
MTA1_IMPORT(mta1_dns, dnsbl) int32_t mta1_host_dns_dnsbl(const void *zone, uint32_t zlen, const void *ip, uint32_t iplen, void *out4);

/* The module mta1_http; the contract says what it needs. */
MTA1_IMPORT(mta1_http, start) int32_t mta1_host_http_start(int32_t method, const void *url, uint32_t ulen, const void *hdr, uint32_t hlen, const void *body, uint32_t blen, int32_t timeout_ms);
MTA1_IMPORT(mta1_http, start_msg) int32_t mta1_host_http_start_msg(const void *url, uint32_t ulen, const void *hdr, uint32_t hlen, int32_t what, int32_t timeout_ms);
MTA1_IMPORT(mta1_http, wait) int32_t mta1_host_http_wait(int32_t handle, int32_t timeout_ms);
MTA1_IMPORT(mta1_http, header) int32_t mta1_host_http_header(int32_t handle, const void *name, uint32_t nlen, void *buf, uint32_t cap);
MTA1_IMPORT(mta1_http, read) int32_t mta1_host_http_read(int32_t handle, void *buf, uint32_t cap);
MTA1_IMPORT(mta1_http, close) int32_t mta1_host_http_close(int32_t handle);

/* The module mta1_crypto; the contract says what it needs. */
MTA1_IMPORT(mta1_crypto, digest) int32_t mta1_host_crypto_digest(int32_t alg, const void *ptr, uint32_t len, void *out, uint32_t cap);
MTA1_IMPORT(mta1_crypto, digest_open) int32_t mta1_host_crypto_digest_open(int32_t alg);
MTA1_IMPORT(mta1_crypto, digest_update) int32_t mta1_host_crypto_digest_update(int32_t h, const void *ptr, uint32_t len);
MTA1_IMPORT(mta1_crypto, digest_body) int32_t mta1_host_crypto_digest_body(int32_t h, int64_t off, int64_t len, int32_t canon);
MTA1_IMPORT(mta1_crypto, digest_final) int32_t mta1_host_crypto_digest_final(int32_t h, void *out, uint32_t cap);
MTA1_IMPORT(mta1_crypto, verify) int32_t mta1_host_crypto_verify(int32_t alg, const void *key, uint32_t klen, const void *sig, uint32_t slen, const void *dig, uint32_t dlen);
MTA1_IMPORT(mta1_crypto, sign) int32_t mta1_host_crypto_sign(const void *keyname, uint32_t nlen, int32_t alg, const void *dig, uint32_t dlen, void *out, uint32_t cap);
MTA1_IMPORT(mta1_crypto, hmac) int32_t mta1_host_crypto_hmac(const void *keyname, uint32_t nlen, int32_t alg, const void *ptr, uint32_t len, void *out, uint32_t cap);
MTA1_IMPORT(mta1_crypto, password_verify) int32_t mta1_host_crypto_password_verify(const void *hash, uint32_t hlen, const void *pw, uint32_t pwlen);

/* The module mta1_table; the contract says what it needs. */
MTA1_IMPORT(mta1_table, lookup) int32_t mta1_host_table_lookup(const void *table, uint32_t tlen, const void *key, uint32_t klen, void *buf, uint32_t cap);

/* The module mta1_event; the contract says what it needs. */
MTA1_IMPORT(mta1_event, emit) int32_t mta1_host_event_emit(const void *topic, uint32_t tlen, const void *data, uint32_t dlen);
/* End of what is generated. */

/* --- texts --- */

/* A text: octets that no NUL ends. ptr is NULL if there is none. */
typedef struct mta1_str {
  const char *ptr;
  uint32_t len;
} mta1_str;

/* A list of texts; count is negative (an error code) if there is none. */
typedef struct mta1_strs {
  mta1_str *at;
  int32_t count;
} mta1_strs;

static inline mta1_str mta1_sub(const char *ptr, uint32_t len) {
  mta1_str s;
  s.ptr = ptr;
  s.len = len;
  return s;
}

/* A C string as a text. */
static inline mta1_str mta1_s(const char *z) {
  uint32_t n = 0;
  while (z[n]) n++;
  return mta1_sub(z, n);
}

static inline char mta1_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

static inline int mta1_eq(mta1_str a, mta1_str b) {
  if (a.len != b.len) return 0;
  for (uint32_t i = 0; i < a.len; i++)
    if (a.ptr[i] != b.ptr[i]) return 0;
  return 1;
}

/* As mta1_eq without regard to the case of ASCII letters. */
static inline int mta1_eq_fold(mta1_str a, mta1_str b) {
  if (a.len != b.len) return 0;
  for (uint32_t i = 0; i < a.len; i++)
    if (mta1_lower(a.ptr[i]) != mta1_lower(b.ptr[i])) return 0;
  return 1;
}

static inline int mta1_is(mta1_str s, const char *z) { return mta1_eq(s, mta1_s(z)); }

static inline int mta1_starts(mta1_str s, const char *z) {
  mta1_str p = mta1_s(z);
  return s.len >= p.len && mta1_eq(mta1_sub(s.ptr, p.len), p);
}

static inline int mta1_ends(mta1_str s, const char *z) {
  mta1_str p = mta1_s(z);
  return s.len >= p.len && mta1_eq(mta1_sub(s.ptr + (s.len - p.len), p.len), p);
}

/* Whether s is one of the list. */
static inline int mta1_in(mta1_strs list, mta1_str s) {
  for (int32_t i = 0; i < list.count; i++)
    if (mta1_eq(list.at[i], s)) return 1;
  return 0;
}

/* --- the scratch buffer --- */

/* Its size in octets, to begin with: what does not fit makes the memory grow. */
#ifndef MTA1_SCRATCH
#define MTA1_SCRATCH 8192
#endif

static char mta1_first[MTA1_SCRATCH] __attribute__((aligned(8)));

static struct {
  char *base;
  uint32_t cap, used, keep; /* keep: what MTA1_INIT read */
} mta1_scratch = {mta1_first, MTA1_SCRATCH, 0, 0};

/* Makes room for n octets behind what is used; 0 if there is no memory. What
 * was read before stays where it is. */
static inline int mta1_room(uint32_t n) {
  if (n <= mta1_scratch.cap - mta1_scratch.used) return 1;
  uint32_t cap = mta1_scratch.cap * 2 > n ? mta1_scratch.cap * 2 : n;
  uint32_t pages = (uint32_t)(((uint64_t)cap + 65535) >> 16);
  size_t at = __builtin_wasm_memory_grow(0, pages);
  if (at == (size_t)-1) return 0;
  mta1_scratch.base = (char *)(at << 16);
  mta1_scratch.cap = pages << 16;
  mta1_scratch.used = mta1_scratch.keep = 0;
  return 1;
}

static inline char *mta1_free(void) { return mta1_scratch.base + mta1_scratch.used; }
static inline uint32_t mta1_left(void) { return mta1_scratch.cap - mta1_scratch.used; }

/* Takes n octets of the scratch buffer, aligned for anything; NULL: no memory. */
static inline void *mta1_alloc(uint32_t n) {
  uint32_t pad = (8 - (mta1_scratch.used & 7)) & 7;
  if (n > UINT32_MAX - 8 || !mta1_room(n + pad)) return NULL;
  mta1_scratch.used += (8 - (mta1_scratch.used & 7)) & 7;
  char *p = mta1_free();
  mta1_scratch.used += n;
  return p;
}

/* The error code of the last function that gave no text or list, although it
 * gives some: why mta1_kv_get(...).ptr is NULL. */
static int32_t mta1_errno;

static inline mta1_str mta1_no_text(int32_t code) {
  mta1_errno = code;
  return mta1_sub(NULL, 0);
}

/* Reads with the expression CALL, which uses mta1_free() and mta1_left(): once
 * more if it does not fit. */
#define MTA1_READ(CALL)                                        \
  int32_t n = (CALL);                                          \
  if (n > 0 && (uint32_t)n > mta1_left())                      \
    n = mta1_room((uint32_t)n) ? (CALL) : MTA1_E_LIMIT;        \
  if (n < 0 || (uint32_t)n > mta1_left()) return mta1_no_text(n < 0 ? n : MTA1_E_CONFLICT); \
  mta1_str s = mta1_sub(mta1_free(), (uint32_t)n);             \
  mta1_scratch.used += (uint32_t)n;                            \
  return s

/* a and b in one text. */
static inline mta1_str mta1_cat(mta1_str a, mta1_str b) {
  char *p = a.len > UINT32_MAX - b.len ? NULL : (char *)mta1_alloc(a.len + b.len);
  if (!p) return mta1_sub(NULL, 0);
  for (uint32_t i = 0; i < a.len; i++) p[i] = a.ptr[i];
  for (uint32_t i = 0; i < b.len; i++) p[a.len + i] = b.ptr[i];
  return mta1_sub(p, a.len + b.len);
}

/* A number in decimal. */
static inline mta1_str mta1_dec(int64_t v) {
  char digits[20];
  uint32_t n = 0;
  uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  do digits[n++] = (char)('0' + u % 10);
  while (u /= 10);
  char *p = (char *)mta1_alloc(n + 1);
  if (!p) return mta1_sub(NULL, 0);
  uint32_t k = 0;
  if (v < 0) p[k++] = '-';
  while (n) p[k++] = digits[--n];
  return mta1_sub(p, k);
}

/* --- log --- */

static inline void mta1_log_str(int32_t level, mta1_str s) { mta1_host_log(level, s.ptr, s.len); }
static inline void mta1_log(int32_t level, const char *z) { mta1_log_str(level, mta1_s(z)); }

/* Fails the plugin, so that its on_error is the verdict; the reason is in the log. */
__attribute__((noreturn)) static inline void mta1_fail(const char *why) {
  mta1_log(MTA1_LOG_ERROR, why);
  __builtin_trap();
}

/* For changes that the policy cannot do without: an error fails the plugin. */
static inline void mta1_must(int32_t code) {
  if (code >= 0) return;
  mta1_log_str(MTA1_LOG_ERROR, mta1_cat(mta1_s("a change was refused: error "), mta1_dec(code)));
  __builtin_trap();
}

/* Fails the plugin if cond does not hold, as assert does elsewhere. */
#define MTA1_ASSERT(cond) ((cond) ? (void)0 : mta1_fail(__FILE__ ":" MTA1_TEXT(__LINE__) ": it does not hold that " #cond))
#define MTA1_TEXT(x) MTA1_TEXT_OF(x)
#define MTA1_TEXT_OF(x) #x

/* --- verdicts: CONTINUE is MTA1_CONTINUE, and so on --- */

static inline int32_t mta1_verdict(int32_t action, int32_t flags, int32_t code) {
  return (int32_t)((uint32_t)code << 16 | (uint32_t)flags << 8 | (uint32_t)action);
}

/* Adds flags to a verdict: mta1_with(MTA1_CONTINUE, MTA1_DETACH_TX). */
static inline int32_t mta1_with(int32_t verdict, int32_t flags) { return verdict | flags << 8; }

/* "5.7.1" as a number; 0, the server's choice, if it is no enhanced code. */
static inline int32_t mta1_enhanced(const char *z) {
  uint32_t part[3] = {0, 0, 0}, i = 0, digits = 0;
  if (!z) return 0;
  for (; *z; z++) {
    if (*z >= '0' && *z <= '9' && digits < 3) {
      part[i] = part[i] * 10 + (uint32_t)(*z - '0');
      digits++;
    } else if (*z == '.' && digits && i < 2) {
      i++;
      digits = 0;
    } else {
      return 0;
    }
  }
  return i == 2 && digits ? (int32_t)(part[0] << 20 | part[1] << 10 | part[2]) : 0;
}

/* A verdict with a reply. LF separates lines of the text. */
static inline int32_t mta1_answer(int32_t action, int32_t code, const char *enhanced, mta1_str text) {
  mta1_host_reply(code, mta1_enhanced(enhanced), text.ptr, text.len);
  return mta1_verdict(action, 0, action == MTA1_ACCEPT ? 0 : code);
}

static inline int32_t mta1_reject(int32_t code, const char *enhanced, const char *text) {
  return mta1_answer(MTA1_REJECT, code, enhanced, mta1_s(text));
}
static inline int32_t mta1_defer(int32_t code, const char *enhanced, const char *text) {
  return mta1_answer(MTA1_DEFER, code, enhanced, mta1_s(text));
}
static inline int32_t mta1_drop(int32_t code, const char *enhanced, const char *text) {
  return mta1_answer(MTA1_DROP, code, enhanced, mta1_s(text));
}
/* ACCEPT with a reply of its own, for commands that the server does not know. */
static inline int32_t mta1_accept(int32_t code, const char *enhanced, const char *text) {
  return mta1_answer(MTA1_ACCEPT, code, enhanced, mta1_s(text));
}

/* --- fields: MTA1_F_... --- */

/* The text of a field; empty if it is not there, not granted, or not at this hook. */
static inline mta1_str mta1_text(int32_t field) { MTA1_READ(mta1_host_get(field, mta1_free(), mta1_left())); }

/* A number; 0 in those cases. */
static inline int64_t mta1_number(int32_t field) {
  int64_t v = mta1_host_get_num(field);
  return v < 0 ? 0 : v;
}

static inline int32_t mta1_set(int32_t field, mta1_str s) { return mta1_host_set(field, s.ptr, s.len); }
static inline int32_t mta1_set_number(int32_t field, int64_t v) { return mta1_host_set_num(field, v); }

/* --- lists: MTA1_LIST_... and their fields --- */

static inline mta1_str mta1_item(int32_t list, int32_t i, int32_t field) {
  MTA1_READ(mta1_host_list_get(list, i, field, mta1_free(), mta1_left()));
}
static inline int32_t mta1_item_set(int32_t list, int32_t i, int32_t field, mta1_str s) {
  return mta1_host_list_set(list, i, field, s.ptr, s.len);
}

/* --- recipients --- */

/* The recipient that is asked about, as an index. Hook rcpt. */
static inline int32_t mta1_rcpt(void) { return (int32_t)mta1_host_get_num(MTA1_F_CUR_RCPT); }
static inline int32_t mta1_rcpt_count(void) {
  int32_t n = mta1_host_list_len(MTA1_LIST_RCPT);
  return n < 0 ? 0 : n;
}
static inline mta1_str mta1_rcpt_text(int32_t i, int32_t field) { return mta1_item(MTA1_LIST_RCPT, i, field); }
static inline int32_t mta1_rcpt_set(int32_t i, mta1_str path) { return mta1_item_set(MTA1_LIST_RCPT, i, MTA1_RCPT_ADDR, path); }
static inline int32_t mta1_rcpt_add(mta1_str path) { return mta1_host_list_insert(MTA1_LIST_RCPT, -1, path.ptr, path.len); }
static inline int32_t mta1_rcpt_remove(int32_t i) { return mta1_host_list_remove(MTA1_LIST_RCPT, i); }

/* --- header fields; names without regard to case --- */

/* The index of the first field called name at or after from; negative: none. */
static inline int32_t mta1_header_find(int32_t from, const char *name) {
  mta1_str k = mta1_s(name);
  return mta1_host_list_find(MTA1_LIST_HEADER, from, k.ptr, k.len);
}

/* The value of the first field called name, unfolded; ptr is NULL if there is none. */
static inline mta1_str mta1_header(const char *name) {
  int32_t i = mta1_header_find(0, name);
  return i < 0 ? mta1_sub(NULL, 0) : mta1_item(MTA1_LIST_HEADER, i, MTA1_HEADER_VALUE);
}

/* Inserts a field before index; -1: at the end. */
static inline int32_t mta1_header_insert(int32_t index, const char *name, mta1_str value) {
  mta1_str f = mta1_cat(mta1_cat(mta1_s(name), mta1_s(": ")), value);
  return f.ptr ? mta1_host_list_insert(MTA1_LIST_HEADER, index, f.ptr, f.len) : MTA1_E_LIMIT;
}
static inline int32_t mta1_header_add(const char *name, mta1_str value) { return mta1_header_insert(-1, name, value); }
static inline int32_t mta1_header_prepend(const char *name, mta1_str value) { return mta1_header_insert(0, name, value); }

static inline int32_t mta1_header_delete_from(int32_t i, const char *name) {
  for (;;) {
    i = mta1_header_find(i, name);
    if (i < 0) return i == MTA1_E_NOT_FOUND ? 0 : i;
    int32_t code = mta1_host_list_remove(MTA1_LIST_HEADER, i);
    if (code < 0) return code;
  }
}

/* Removes all fields called name. */
static inline int32_t mta1_header_delete(const char *name) { return mta1_header_delete_from(0, name); }

/* Gives name this one value: changes the first field, removes further ones, and
 * appends a field if there is none. */
static inline int32_t mta1_header_set(const char *name, mta1_str value) {
  int32_t i = mta1_header_find(0, name);
  if (i < 0) return mta1_header_add(name, value);
  int32_t code = mta1_item_set(MTA1_LIST_HEADER, i, MTA1_HEADER_VALUE, value);
  return code < 0 ? code : mta1_header_delete_from(i + 1, name);
}

/* --- attributes: MTA1_SCOPE_... --- */

static inline mta1_str mta1_attr(int32_t scope, const char *key) {
  mta1_str k = mta1_s(key);
  MTA1_READ(mta1_host_attr_get(scope, k.ptr, k.len, mta1_free(), mta1_left()));
}
static inline int32_t mta1_attr_set(int32_t scope, const char *key, mta1_str value) {
  mta1_str k = mta1_s(key);
  return mta1_host_attr_set(scope, k.ptr, k.len, value.ptr, value.len);
}
static inline int32_t mta1_attr_delete(int32_t scope, const char *key) {
  mta1_str k = mta1_s(key);
  return mta1_host_attr_del(scope, k.ptr, k.len);
}

/* --- configuration: the table [plugin.config]; in MTA1_INIT --- */

static int32_t mta1_config_error;

static inline void mta1_config_fail(const char *key, const char *want) {
  mta1_config_error = MTA1_E_INVAL;
  mta1_log_str(MTA1_LOG_ERROR, mta1_cat(mta1_cat(mta1_s("config: "), mta1_s(key)), mta1_cat(mta1_s(" must be "), mta1_s(want))));
}

/* A value: a string as its text, anything else as JSON; ptr is NULL if it is
 * missing. No key: the whole as JSON. */
static inline mta1_str mta1_config(const char *key) {
  mta1_str k = mta1_s(key);
  MTA1_READ(mta1_host_config(k.ptr, k.len, mta1_free(), mta1_left()));
}

/* A whole number; def if it is missing. Anything else refuses the plugin. */
static inline int64_t mta1_config_int(const char *key, int64_t def) {
  mta1_str s = mta1_config(key);
  uint32_t i = s.len && s.ptr[0] == '-' ? 1 : 0, first = i;
  uint64_t v = 0;
  if (!s.ptr) return def;
  for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9' && i - first < 18; i++) v = v * 10 + (uint64_t)(s.ptr[i] - '0');
  if (i == first || i != s.len) {
    mta1_config_fail(key, "a whole number");
    return def;
  }
  return first ? -(int64_t)v : (int64_t)v;
}

/* true or false; def if it is missing. Anything else refuses the plugin. */
static inline int mta1_config_bool(const char *key, int def) {
  mta1_str s = mta1_config(key);
  if (!s.ptr) return def;
  if (!mta1_is(s, "true") && !mta1_is(s, "false")) mta1_config_fail(key, "true or false");
  return mta1_is(s, "true");
}

static inline int32_t mta1_hex4(const char *p) {
  int32_t v = 0;
  for (int i = 0; i < 4; i++) {
    char c = mta1_lower(p[i]);
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return -1;
    v = v << 4 | (c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return v;
}

/* Decodes a JSON string that begins behind its quote at *pp, in its own place,
 * where it always fits. Returns the decoded length, or -1. */
static inline int32_t mta1_json_string(char **pp, char *end) {
  char *p = *pp, *out = p, *start = p;
  while (p < end) {
    char c = *p++;
    if (c == '"') {
      *pp = p;
      return (int32_t)(out - start);
    }
    if ((unsigned char)c < ' ') return -1;
    if (c != '\\') {
      *out++ = c;
      continue;
    }
    if (p == end) return -1;
    c = *p++;
    switch (c) {
      case '"': case '\\': case '/': *out++ = c; continue;
      case 'b': *out++ = '\b'; continue;
      case 'f': *out++ = '\f'; continue;
      case 'n': *out++ = '\n'; continue;
      case 'r': *out++ = '\r'; continue;
      case 't': *out++ = '\t'; continue;
      case 'u': break;
      default: return -1;
    }
    int32_t r = end - p >= 4 ? mta1_hex4(p) : -1;
    if (r < 0) return -1;
    p += 4;
    if (r >= 0xd800 && r < 0xe000) { /* half a pair is U+FFFD */
      int32_t low = r < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? mta1_hex4(p + 2) : -1;
      if (low >= 0xdc00 && low < 0xe000) {
        r = 0x10000 + ((r - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
      } else {
        r = 0xfffd;
      }
    }
    if (r < 0x80) {
      *out++ = (char)r;
      continue;
    }
    if (r < 0x800) {
      *out++ = (char)(0xc0 | r >> 6);
    } else {
      if (r < 0x10000) {
        *out++ = (char)(0xe0 | r >> 12);
      } else {
        *out++ = (char)(0xf0 | r >> 18);
        *out++ = (char)(0x80 | (r >> 12 & 0x3f));
      }
      *out++ = (char)(0x80 | (r >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (r & 0x3f));
  }
  return -1;
}

/* Whether c comes next in a JSON text, after blanks. */
static inline int mta1_json_next(char **p, char *end, char c) {
  while (*p < end && (**p == ' ' || **p == '\t' || **p == '\n' || **p == '\r')) ++*p;
  if (*p == end || **p != c) return 0;
  ++*p;
  return 1;
}

/* A list of strings; empty if it is missing. Anything else refuses the plugin. */
static inline mta1_strs mta1_config_strings(const char *key) {
  mta1_str s = mta1_config(key);
  mta1_strs list = {NULL, 0};
  if (!s.ptr) return list;
  uint32_t most = 1; /* no more items than commas, and one */
  for (uint32_t i = 0; i < s.len; i++) most += s.ptr[i] == ',';
  char *p = (char *)(uintptr_t)s.ptr, *end = p + s.len; /* it lies in the scratch buffer: it is ours */
  mta1_str *at = most > (1u << 24) ? NULL : (mta1_str *)mta1_alloc(most * (uint32_t)sizeof(mta1_str));
  int ok = at && mta1_json_next(&p, end, '['), first = 1;
  while (ok && !mta1_json_next(&p, end, ']')) {
    int32_t n = -1;
    char *text = NULL;
    if ((first || mta1_json_next(&p, end, ',')) && mta1_json_next(&p, end, '"')) {
      text = p;
      n = mta1_json_string(&p, end);
    }
    if (n < 0) ok = 0;
    else at[list.count++] = mta1_sub(text, (uint32_t)n);
    first = 0;
  }
  if (!ok || p != end) {
    mta1_config_fail(key, "a list of strings");
    list.count = 0;
    return list;
  }
  list.at = at;
  return list;
}

/* --- body --- */

/* Octets of the body from off on; 0 at the end, negative: an error code. Needs
 * the grant body = "read". */
static inline int32_t mta1_body_read(int64_t off, void *buf, uint32_t cap) { return mta1_host_body_read(off, buf, cap); }

/* A new body is made of what mta1_body_write gives and of ranges of the old one,
 * in the order of the calls; without a call the body stays. Hook message; needs
 * the grant body = "write". */
static inline int32_t mta1_body_write(mta1_str s) { return mta1_host_body_write(s.ptr, s.len); }
/* len octets of the old body from off on. They do not pass through the plugin. */
static inline int32_t mta1_body_splice(int64_t off, int64_t len) { return mta1_host_body_splice(off, len); }

/* --- secrets, metrics, clocks --- */

/* A secret of the operator, of the grant secrets; also in MTA1_INIT. */
static inline mta1_str mta1_secret(const char *name) {
  mta1_str k = mta1_s(name);
  MTA1_READ(mta1_host_secret(k.ptr, k.len, mta1_free(), mta1_left()));
}

static inline int32_t mta1_metric(int32_t kind, const char *name) {
  mta1_str k = mta1_s(name);
  int32_t id = mta1_host_metric_def(kind, k.ptr, k.len);
  if (id < 0) {
    mta1_config_error = id;
    mta1_log_str(MTA1_LOG_ERROR, mta1_cat(mta1_cat(mta1_s("metric "), k), mta1_cat(mta1_s(": error "), mta1_dec(id))));
  }
  return id;
}

/* Series of metrics, made in MTA1_INIT: a name has 1 to 64 lower-case letters,
 * digits and '_'. They go on in new versions of the plugin. An error refuses it. */
static inline int32_t mta1_counter(const char *name) { return mta1_metric(MTA1_METRIC_COUNTER, name); }
static inline int32_t mta1_gauge(const char *name) { return mta1_metric(MTA1_METRIC_GAUGE, name); }
static inline int32_t mta1_histogram(const char *name) { return mta1_metric(MTA1_METRIC_HISTOGRAM, name); }

/* Adds to a counter, sets a gauge, or counts one of this size in a histogram.
 * What is wrong with a sample is no reason to fail a message. */
static inline void mta1_sample(int32_t id, int64_t v) { mta1_host_metric_add(id, v); }

/* Whether the server has a feature, MTA1_FEATURE_..., and grants it. */
static inline int mta1_feature(int32_t id) { return mta1_host_feature(id) == 1; }

/* Milliseconds since 1970. */
static inline int64_t mta1_now_ms(void) { return mta1_host_now_ms(); }
/* Nanoseconds of a clock that is never set, for measuring. */
static inline int64_t mta1_mono_ns(void) { return mta1_host_mono_ns(); }
/* Fills buf with cryptographic random octets, at most 65536. */
static inline int32_t mta1_random(void *buf, uint32_t len) { return mta1_host_random(buf, len); }

/* --- memory that outlives sessions, restarts and new versions: mta1_kv --- */
/* Grant kv. 64 operations in a call; keys of 1 to 512 octets, values of at most
 * 65536. A time to live is in milliseconds, 0 for ever. Each operation is atomic
 * among all sessions. */

/* A value; ptr is NULL if there is none. A counter is its number in decimal. */
static inline mta1_str mta1_kv_get(mta1_str key) { MTA1_READ(mta1_host_kv_get(key.ptr, key.len, mta1_free(), mta1_left())); }

/* Sets a value. flags: MTA1_KV_IF_ABSENT (E_CONFLICT: there is one),
 * MTA1_KV_IF_PRESENT (E_NOT_FOUND: there is none), MTA1_KV_SYNC. */
static inline int32_t mta1_kv_set(mta1_str key, mta1_str value, int64_t ttl_ms, int32_t flags) {
  return mta1_host_kv_set(key.ptr, key.len, value.ptr, value.len, ttl_ms, flags);
}

/* E_NOT_FOUND: there was none. */
static inline int32_t mta1_kv_del(mta1_str key) { return mta1_host_kv_del(key.ptr, key.len); }

/* Adds to a counter, which does not go below 0, and returns its new value. A new
 * one lives for ttl_ms; one that is there keeps its time, unless flags is
 * MTA1_KV_REFRESH. */
static inline int64_t mta1_kv_incr(mta1_str key, int64_t delta, int64_t ttl_ms, int32_t flags) {
  return mta1_host_kv_incr(key.ptr, key.len, delta, ttl_ms, flags);
}

/* Takes cost tokens from a bucket that holds burst, begins full, and gains
 * per_sec_milli thousandths of one in a second. 0: taken; above: none was, and
 * these are the milliseconds until there are enough. */
static inline int64_t mta1_kv_take(mta1_str key, int32_t cost, int32_t burst, int64_t per_sec_milli) {
  return mta1_host_kv_take(key.ptr, key.len, cost, burst, per_sec_milli);
}

/* Sets a value that is old, or none if old is empty. E_CONFLICT: it is another. */
static inline int32_t mta1_kv_cas(mta1_str key, mta1_str old, mta1_str value, int64_t ttl_ms) {
  return mta1_host_kv_cas(key.ptr, key.len, old.ptr, old.len, value.ptr, value.len, ttl_ms);
}

/* --- the DNS, by the server's resolver, which caches: mta1_dns --- */
/* Grant dns. 30 different questions in a call. */

enum mta1_rr {
  MTA1_DNS_A = 1,
  MTA1_DNS_NS = 2,
  MTA1_DNS_CNAME = 5,
  MTA1_DNS_PTR = 12,
  MTA1_DNS_MX = 15,
  MTA1_DNS_TXT = 16,
  MTA1_DNS_AAAA = 28,
  MTA1_DNS_SRV = 33,
  MTA1_DNS_TLSA = 52,
  MTA1_DNS_CAA = 257,
};

/* Starts a question that will be asked later, at most 8 at a time. */
static inline int32_t mta1_dns_prefetch(int32_t type, mta1_str name) { return mta1_host_dns_prefetch(type, name.ptr, name.len); }

static inline mta1_str mta1_dns_raw(int32_t type, mta1_str name) {
  MTA1_READ(mta1_host_dns_query(type, name.ptr, name.len, mta1_free(), mta1_left()));
}

static inline uint32_t mta1_u32(const char *p) {
  const unsigned char *u = (const unsigned char *)p;
  return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

/* The records in the form of the contract: A is 4 octets, AAAA 16, MX "10 host",
 * SRV "priority weight port host". count is negative for an error, such as
 * MTA1_E_NXDOMAIN, and 0 if the name has no such records. */
static inline mta1_strs mta1_dns_query(int32_t type, mta1_str name) {
  mta1_strs list = {NULL, 0};
  mta1_str s = mta1_dns_raw(type, name);
  uint32_t count = 0, i = 0;
  if (!s.ptr) {
    list.count = mta1_errno;
    return list;
  }
  for (; s.len - i >= 4 && mta1_u32(s.ptr + i) <= s.len - i - 4; count++) i += 4 + mta1_u32(s.ptr + i);
  list.at = count ? (mta1_str *)mta1_alloc(count * (uint32_t)sizeof(mta1_str)) : NULL;
  if (count && !list.at) {
    list.count = mta1_errno = MTA1_E_LIMIT;
    return list;
  }
  for (i = 0; (uint32_t)list.count < count; list.count++) {
    list.at[list.count] = mta1_sub(s.ptr + i + 4, mta1_u32(s.ptr + i));
    i += 4 + mta1_u32(s.ptr + i);
  }
  return list;
}

/* An address of 4 or 16 octets as a text (RFC 5952): "192.0.2.1", "2001:db8::1". */
static inline mta1_str mta1_ip(mta1_str octets) {
  const unsigned char *b = (const unsigned char *)octets.ptr;
  char *p = (char *)mta1_alloc(40);
  uint32_t n = 0;
  if (!p || (octets.len != 4 && octets.len != 16)) return mta1_no_text(p ? MTA1_E_INVAL : MTA1_E_LIMIT);
  if (octets.len == 4) {
    for (int i = 0; i < 4; i++) {
      if (i) p[n++] = '.';
      if (b[i] > 99) p[n++] = (char)('0' + b[i] / 100);
      if (b[i] > 9) p[n++] = (char)('0' + b[i] / 10 % 10);
      p[n++] = (char)('0' + b[i] % 10);
    }
    return mta1_sub(p, n);
  }
  int from = -1, zeros = 1; /* the first longest run of two and more */
  for (int i = 0; i < 8; i++) {
    int k = i;
    while (k < 8 && !b[2 * k] && !b[2 * k + 1]) k++;
    if (k - i > zeros) {
      from = i;
      zeros = k - i;
    }
  }
  for (int i = 0; i < 8; i++) {
    if (i == from) {
      p[n++] = ':';
      p[n++] = ':';
      i += zeros - 1;
      continue;
    }
    if (n && p[n - 1] != ':') p[n++] = ':';
    uint32_t v = (uint32_t)b[2 * i] << 8 | b[2 * i + 1];
    for (int shift = v > 0xfff ? 12 : v > 0xff ? 8 : v > 0xf ? 4 : 0; shift >= 0; shift -= 4) p[n++] = "0123456789abcdef"[v >> shift & 15];
  }
  return mta1_sub(p, n);
}

static inline mta1_strs mta1_dns_ips(int32_t type, mta1_str host) {
  mta1_strs list = mta1_dns_query(type, host);
  for (int32_t i = 0; i < list.count; i++) list.at[i] = mta1_ip(list.at[i]);
  return list;
}

/* The addresses of a host, as texts. */
static inline mta1_strs mta1_dns_a(mta1_str host) { return mta1_dns_ips(MTA1_DNS_A, host); }
static inline mta1_strs mta1_dns_aaaa(mta1_str host) { return mta1_dns_ips(MTA1_DNS_AAAA, host); }

/* The TXT records, the strings of each joined. */
static inline mta1_strs mta1_dns_txt(mta1_str name) { return mta1_dns_query(MTA1_DNS_TXT, name); }

/* The host names of a name like 1.2.0.192.in-addr.arpa. */
static inline mta1_strs mta1_dns_ptr(mta1_str name) { return mta1_dns_query(MTA1_DNS_PTR, name); }

/* The MX records, in no order, each "10 host": mta1_mx_of takes it apart. */
static inline mta1_strs mta1_dns_mx(mta1_str domain) { return mta1_dns_query(MTA1_DNS_MX, domain); }

/* An MX record. A null MX has the host ".". */
typedef struct mta1_mx {
  int32_t preference;
  mta1_str host;
} mta1_mx;

static inline mta1_mx mta1_mx_of(mta1_str record) {
  mta1_mx x = {0, {NULL, 0}};
  uint32_t i = 0;
  for (; i < record.len && record.ptr[i] >= '0' && record.ptr[i] <= '9' && i < 5; i++) x.preference = x.preference * 10 + (record.ptr[i] - '0');
  if (i < record.len && record.ptr[i] == ' ') x.host = mta1_sub(record.ptr + i + 1, record.len - i - 1);
  return x;
}

/* Asks a DNS list for an address: 1, and its answer such as "127.0.0.2" in
 * *answer (which may be NULL), or 0. E_UNAVAIL: the list does not answer us. */
static inline int32_t mta1_dns_listed(mta1_str zone, mta1_str ip, mta1_str *answer) {
  char a[4];
  int32_t n = mta1_host_dns_dnsbl(zone.ptr, zone.len, ip.ptr, ip.len, a);
  if (answer) *answer = n == 1 ? mta1_ip(mta1_sub(a, 4)) : mta1_sub(NULL, 0);
  return n;
}

/* Of the last answer: how long it holds, in seconds; whether DNSSEC proved it. */
static inline int64_t mta1_dns_ttl(void) { return mta1_number(MTA1_F_DNS_TTL); }
static inline int mta1_dns_secure(void) { return mta1_number(MTA1_F_DNS_AD) == 1; }

/* --- requests to the places of the grant http: mta1_http --- */
/* 4 requests in a call, 2 of them open at a time. Redirects are not followed. */

typedef struct mta1_request {
  int32_t method; /* MTA1_HTTP_GET ... */
  mta1_str url;
  mta1_str header; /* lines "Name: value"; mta1_request_header adds one */
  mta1_str body;
  int32_t timeout_ms; /* of the whole; 0 and more than 10000: 10000 */
} mta1_request;

static inline mta1_request mta1_request_to(int32_t method, mta1_str url) {
  mta1_request r = {method, {NULL, 0}, {NULL, 0}, {NULL, 0}, 0};
  r.url = url;
  return r;
}
static inline void mta1_request_header(mta1_request *r, const char *name, mta1_str value) {
  mta1_str line = mta1_cat(mta1_cat(mta1_s(name), mta1_s(": ")), mta1_cat(value, mta1_s("\n")));
  r->header = mta1_cat(r->header, line);
}

/* Sends a request and does not wait for its response: a handle, or an error. */
static inline int32_t mta1_http_start(const mta1_request *r) {
  return mta1_host_http_start(r->method, r->url.ptr, r->url.len, r->header.ptr, r->header.len, r->body.ptr, r->body.len, r->timeout_ms);
}
/* Posts MTA1_SEND_MESSAGE, _BODY or _HEADERS, which does not pass through the
 * plugin. Method and body do not count. Needs the grants headers and body for
 * what it sends. */
static inline int32_t mta1_http_start_msg(const mta1_request *r, int32_t what) {
  return mta1_host_http_start_msg(r->url.ptr, r->url.len, r->header.ptr, r->header.len, what, r->timeout_ms);
}
/* The status, 200 to 599, waiting so many milliseconds for it, -1 as long as the
 * request may take. E_TIMEOUT: not yet. */
static inline int32_t mta1_http_wait(int32_t handle, int32_t timeout_ms) { return mta1_host_http_wait(handle, timeout_ms); }
static inline int32_t mta1_http_status(int32_t handle) { return mta1_host_http_wait(handle, -1); }
/* The value of a header field of the response, several joined by commas. */
static inline mta1_str mta1_http_header(int32_t handle, const char *name) {
  mta1_str k = mta1_s(name);
  MTA1_READ(mta1_host_http_header(handle, k.ptr, k.len, mta1_free(), mta1_left()));
}
/* Reads on in the response; 0 at the end. */
static inline int32_t mta1_http_read(int32_t handle, void *buf, uint32_t cap) { return mta1_host_http_read(handle, buf, cap); }
/* The rest of the response, at most 1 MiB; ptr is NULL if there was an error. */
static inline mta1_str mta1_http_body(int32_t handle) {
  uint32_t len = 0;
  for (;;) {
    if (len == mta1_left()) {
      const char *old = mta1_free();
      if (!mta1_room(2 * len + 1)) return mta1_no_text(MTA1_E_LIMIT);
      for (uint32_t i = 0; i < len; i++) mta1_free()[i] = old[i];
    }
    int32_t n = mta1_host_http_read(handle, mta1_free() + len, mta1_left() - len);
    if (n < 0) return mta1_no_text(n);
    if (n == 0) break;
    len += (uint32_t)n;
  }
  mta1_str s = mta1_sub(mta1_free(), len);
  mta1_scratch.used += len;
  return s;
}
/* Ends the request; the end of the hook does it too. */
static inline int32_t mta1_http_close(int32_t handle) { return mta1_host_http_close(handle); }

/* --- cryptography in the server: mta1_crypto --- */
/* Needs no grant, except for keys (sign_keys) and for the body. */

static inline mta1_str mta1_digest(int32_t alg, mta1_str data) {
  MTA1_READ(mta1_host_crypto_digest(alg, data.ptr, data.len, mta1_free(), mta1_left()));
}

/* A digest that grows: a handle, or an error. Eight at a time. */
static inline int32_t mta1_digest_open(int32_t alg) { return mta1_host_crypto_digest_open(alg); }
static inline int32_t mta1_digest_update(int32_t handle, mta1_str data) { return mta1_host_crypto_digest_update(handle, data.ptr, data.len); }
/* Hashes len octets of the body from off, -1: all that follow, in a form of
 * MTA1_CANON_... (RFC 6376 3.4). Needs the grant body = "read". */
static inline int32_t mta1_digest_body(int32_t handle, int64_t off, int64_t len, int32_t canon) {
  return mta1_host_crypto_digest_body(handle, off, len, canon);
}
/* The digest; the handle ends. */
static inline mta1_str mta1_digest_final(int32_t handle) {
  MTA1_READ(mta1_host_crypto_digest_final(handle, mta1_free(), mta1_left()));
}
/* The digest of the canonical body, of it the first limit octets, -1: of all. */
static inline mta1_str mta1_body_digest(int32_t alg, int32_t canon, int64_t limit) {
  int32_t h = mta1_digest_open(alg), code = h < 0 ? h : mta1_digest_body(h, 0, limit, canon);
  mta1_str sum = h < 0 ? mta1_sub(NULL, 0) : mta1_digest_final(h);
  return code < 0 ? mta1_no_text(code) : sum;
}

/* 0, or E_BAD_SIG. key is a DER SubjectPublicKeyInfo, of Ed25519 also the 32
 * octets; digest is the SHA-256, with Ed25519 what was signed. */
static inline int32_t mta1_verify(int32_t alg, mta1_str key, mta1_str signature, mta1_str digest) {
  return mta1_host_crypto_verify(alg, key.ptr, key.len, signature.ptr, signature.len, digest.ptr, digest.len);
}
/* Signs with a key of the operator, which the plugin does not see. */
static inline mta1_str mta1_sign(const char *key, int32_t alg, mta1_str digest) {
  mta1_str k = mta1_s(key);
  MTA1_READ(mta1_host_crypto_sign(k.ptr, k.len, alg, digest.ptr, digest.len, mta1_free(), mta1_left()));
}
/* A MAC with a key of the operator. */
static inline mta1_str mta1_hmac(const char *key, int32_t alg, mta1_str data) {
  mta1_str k = mta1_s(key);
  MTA1_READ(mta1_host_crypto_hmac(k.ptr, k.len, alg, data.ptr, data.len, mta1_free(), mta1_left()));
}
/* 1: hash (bcrypt, argon2id, scrypt, sha512-crypt, PBKDF2) is one of the
 * password; 0: not. Four in a call. */
static inline int32_t mta1_password_verify(mta1_str hash, mta1_str password) {
  return mta1_host_crypto_password_verify(hash.ptr, hash.len, password.ptr, password.len);
}

/* --- the operator's tables and event sinks: mta1_table, mta1_event --- */

/* The value of a key; ptr is NULL if it is not in the table. Grant tables. */
static inline mta1_str mta1_table(const char *table, mta1_str key) {
  mta1_str t = mta1_s(table);
  MTA1_READ(mta1_host_table_lookup(t.ptr, t.len, key.ptr, key.len, mta1_free(), mta1_left()));
}

/* Hands an event to the sinks of its topic: 16 in a call. Grant events. */
static inline int32_t mta1_event(const char *topic, mta1_str data) {
  mta1_str t = mta1_s(topic);
  return mta1_host_event_emit(t.ptr, t.len, data.ptr, data.len);
}

/* --- exports --- */

/* MTA1_INIT { ...; return 0; } reads the configuration. Another result than 0
 * refuses the plugin, and so does a value of the wrong type. */
#define MTA1_INIT                                                       \
  static int32_t mta1_init_body(void);                                  \
  MTA1_EXPORT(mta1_init) int32_t mta1_init(void) {                      \
    int32_t code = mta1_init_body();                                    \
    mta1_scratch.keep = mta1_scratch.used;                              \
    return code ? code : mta1_config_error;                             \
  }                                                                     \
  static int32_t mta1_init_body(void)

/* MTA1_HOOK(rcpt) { ...; return MTA1_CONTINUE; } subscribes to a hook. */
#define MTA1_HOOK(name)                                                 \
  static int32_t mta1_hook_##name(void);                                \
  MTA1_EXPORT(mta1_on_##name) int32_t mta1_on_##name(void) {            \
    mta1_scratch.used = mta1_scratch.keep;                              \
    return mta1_hook_##name();                                          \
  }                                                                     \
  static int32_t mta1_hook_##name(void)

/* --- what the compiler may call although no library is there --- */

#ifndef __wasi__
/* Fails the plugin, and says so in the log. */
__attribute__((weak, noreturn)) void abort(void) { mta1_fail("abort() was called"); }
__attribute__((weak, no_builtin)) void *memcpy(void *to, const void *from, size_t n) {
  for (size_t i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
  return to;
}
__attribute__((weak, no_builtin)) void *memmove(void *to, const void *from, size_t n) {
  if ((uintptr_t)to <= (uintptr_t)from) {
    for (size_t i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
  } else {
    while (n--) ((char *)to)[n] = ((const char *)from)[n];
  }
  return to;
}
__attribute__((weak, no_builtin)) void *memset(void *to, int c, size_t n) {
  for (size_t i = 0; i < n; i++) ((char *)to)[i] = (char)c;
  return to;
}
__attribute__((weak, no_builtin)) int memcmp(const void *a, const void *b, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (((const unsigned char *)a)[i] != ((const unsigned char *)b)[i]) return ((const unsigned char *)a)[i] - ((const unsigned char *)b)[i];
  return 0;
}
#endif

#ifdef __cplusplus
}
#endif

#endif /* MTA1_H */
