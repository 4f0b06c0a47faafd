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
  MTA1_F_CONN_COUNT_IP = 0x0108, /* n, open connections from this address */
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
  /* authentication */
  MTA1_F_AUTH_MECH = 0x0301,     /* b */
  MTA1_F_AUTH_USER = 0x0302,     /* b */
  MTA1_F_AUTH_PASS = 0x0303,     /* b, needs the grant auth_password */
  MTA1_F_AUTH_ID = 0x0304,       /* b set */
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
  MTA1_RCPT_STATUS = 7,          /* n, at result: 0 deferred 1 delivered 2 failed */
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

/* Limits of one hook call. */
enum mta1_max {
  MTA1_MAX_HOST_CALLS = 10000,
  MTA1_MAX_HEADER_EDITS = 64,
  MTA1_MAX_HEADER_BYTES = 262144, /* added by edits */
  MTA1_MAX_LOG_LINE = 4096,
  MTA1_MAX_LOG_LINES = 32,
  MTA1_MAX_KEY = 512,
  MTA1_MAX_ATTR_VALUE = 16384,
  MTA1_MAX_CONFIG = 1048576,
  MTA1_MAX_EDITS = 256,          /* changes of fields, attributes and next hops */
  MTA1_MAX_RCPT_EDITS = 1000,    /* changes of recipients */
  MTA1_MAX_ATTRS = 1000,         /* attributes in one scope, of all plugins */
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
MTA1_IMPORT(get) int32_t mta1_host_get(int32_t field, void *buf, uint32_t cap);
/* a field of kind n, from 0 up */
MTA1_IMPORT(get_num) int64_t mta1_host_get_num(int32_t field);
/* change a field of kind b */
MTA1_IMPORT(set) int32_t mta1_host_set(int32_t field, const void *ptr, uint32_t len);
/* change a field of kind n */
MTA1_IMPORT(set_num) int32_t mta1_host_set_num(int32_t field, int64_t value);
/* the number of elements */
MTA1_IMPORT(list_len) int32_t mta1_host_list_len(int32_t list);
/* a field of an element, kind b */
MTA1_IMPORT(list_get) int32_t mta1_host_list_get(int32_t list, int32_t idx, int32_t field, void *buf, uint32_t cap);
/* a field of an element, kind n */
MTA1_IMPORT(list_num) int64_t mta1_host_list_num(int32_t list, int32_t idx, int32_t field);
/* change a field of an element */
MTA1_IMPORT(list_set) int32_t mta1_host_list_set(int32_t list, int32_t idx, int32_t field, const void *ptr, uint32_t len);
/* insert before idx; -1 is the end */
MTA1_IMPORT(list_insert) int32_t mta1_host_list_insert(int32_t list, int32_t idx, const void *ptr, uint32_t len);
/* remove an element */
MTA1_IMPORT(list_remove) int32_t mta1_host_list_remove(int32_t list, int32_t idx);
/* index of the first match at or after from, without regard to case */
MTA1_IMPORT(list_find) int32_t mta1_host_list_find(int32_t list, int32_t from, const void *key, uint32_t klen);
/* the reply of this call's verdict; section 4 */
MTA1_IMPORT(reply) int32_t mta1_host_reply(int32_t code, int32_t enh, const void *ptr, uint32_t len);
/* octets of the body from off; the number read, 0 at the end */
MTA1_IMPORT(body_read) int32_t mta1_host_body_read(int64_t off, void *buf, uint32_t cap);
/* not offered yet: E_UNSUPPORTED */
MTA1_IMPORT(body_write) int32_t mta1_host_body_write(const void *ptr, uint32_t len);
/* not offered yet: E_UNSUPPORTED */
MTA1_IMPORT(body_splice) int32_t mta1_host_body_splice(int64_t off, int64_t len);
/* an attribute */
MTA1_IMPORT(attr_get) int32_t mta1_host_attr_get(int32_t scope, const void *key, uint32_t klen, void *buf, uint32_t cap);
/* set an attribute */
MTA1_IMPORT(attr_set) int32_t mta1_host_attr_set(int32_t scope, const void *key, uint32_t klen, const void *ptr, uint32_t len);
/* delete an attribute; E_NOT_FOUND: it was not set */
MTA1_IMPORT(attr_del) int32_t mta1_host_attr_del(int32_t scope, const void *key, uint32_t klen);
/* the configuration: klen 0 all of it as JSON, otherwise a member of the object: a string as its text, anything else as JSON */
MTA1_IMPORT(config) int32_t mta1_host_config(const void *key, uint32_t klen, void *buf, uint32_t cap);
/* not offered yet: E_DENIED */
MTA1_IMPORT(secret) int32_t mta1_host_secret(const void *name, uint32_t nlen, void *buf, uint32_t cap);
/* a line for the log: 0 debug, 1 info, 2 warning, 3 error */
MTA1_IMPORT(log) int32_t mta1_host_log(int32_t level, const void *ptr, uint32_t len);
/* the lowest level that is kept */
MTA1_IMPORT(log_level) int32_t mta1_host_log_level(void);
/* milliseconds since 1970 */
MTA1_IMPORT(now_ms) int64_t mta1_host_now_ms(void);
/* nanoseconds of a clock that is never set */
MTA1_IMPORT(mono_ns) int64_t mta1_host_mono_ns(void);
/* cryptographic random octets, at most 65536 */
MTA1_IMPORT(random) int32_t mta1_host_random(void *buf, uint32_t len);
/* not offered yet: E_UNSUPPORTED */
MTA1_IMPORT(metric_def) int32_t mta1_host_metric_def(int32_t kind, const void *name, uint32_t nlen);
/* not offered yet: E_UNSUPPORTED */
MTA1_IMPORT(metric_add) int32_t mta1_host_metric_add(int32_t id, int64_t value);
/* 1: this server has it and the plugin is granted it; 0: no */
MTA1_IMPORT(feature) int32_t mta1_host_feature(int32_t id);
/* End of what is generated. */
