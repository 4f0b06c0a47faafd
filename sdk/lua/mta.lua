---@meta
-- What a policy in Lua finds in wasmta, for the Lua language server.

---@class mta.Verdict
local Verdict = {}
---Do not ask this plugin again in this transaction.
---@return mta.Verdict
function Verdict:detach_transaction() end
---Do not ask this plugin again in this session.
---@return mta.Verdict
function Verdict:detach_session() end
---With drop: close without a reply.
---@return mta.Verdict
function Verdict:no_reply() end

---@class mta.Recipient
---@field address string forward-path without brackets; may be assigned
---@field local_part string without quotes
---@field domain string lower case, A-labels
---@field original? string before it was rewritten
---@field orcpt? string
---@field notify integer a sum of 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY; 0: not given
---@field status "deferred"|"delivered"|"failed" at result
local Recipient = {}
function Recipient:remove() end

---@class mta.Headers
---@field count integer
local Headers = {}
---@param name string
---@return string? value of the first field of this name
function Headers:get(name) end
---@param name string
---@return boolean
function Headers:has(name) end
---@param name string
---@return string[]
function Headers:values(name) end
---@return fun(): string?, string?
function Headers:each() end
---@return string
function Headers:raw() end
---@param name string
---@param value string
function Headers:add(name, value) end
---@param name string
---@param value string
function Headers:prepend(name, value) end
---@param name string
---@param value string
function Headers:set(name, value) end
---@param name string
function Headers:remove(name) end

---@class mta.Body
---@field size integer
local Body = {}
---@param offset integer from 0
---@param octets integer
---@return string
function Body:read(offset, octets) end
---@param most? integer at most 1 MiB
---@return string
function Body:text(most) end

---@alias mta.Scope "session"|"transaction"|"message"|"recipient"

---@class mta.Session
---@field remote_ip? string
---@field remote_port integer
---@field local_ip? string
---@field local_port integer
---@field listener? string
---@field ptr? string forward-confirmed name of the client
---@field id? string
---@field connections integer open ones from the client's address
---@field proxy_ip? string
---@field banner string at connect; can be assigned only
---@field helo? string
---@field esmtp boolean
---@field extensions string[] at ehlo; may be assigned
---@field tls boolean
---@field tls_version integer 0x0303 or 0x0304
---@field tls_cipher? string
---@field tls_server_name? string
---@field client_certificate? string SHA-256 in hex
---@field certificate_names string[] of a certificate that was verified, such as "email:ann@example.org"
---@field auth_mechanism? string
---@field auth_user? string
---@field auth_password? string
---@field auth_id? string may be assigned at auth
---@field auth_scram string keys of auth_user, at auth by SCRAM-SHA-256; can be assigned only
---@field verb? string
---@field argument? string
---@field reason? string
---@field transaction_id? string
---@field mail_from string "" is the null reverse-path; may be assigned
---@field declared_size integer
---@field body_type integer 0 not given, 1 7BIT, 2 8BITMIME, 3 BINARYMIME
---@field smtputf8 boolean
---@field requiretls boolean
---@field envelope_id? string
---@field size_limit integer may be assigned at data
---@field rcpt mta.Recipient at rcpt
---@field recipients mta.Recipient[]
---@field message_size integer
---@field message_id? string
---@field received_count integer
---@field headers mta.Headers
---@field body mta.Body
---@field queue_id? string
---@field domain? string
---@field attempt integer
---@field queued integer milliseconds since 1970
---@field last_code integer
---@field last_reply? string
---@field last_mx? string
---@field next_hop? string may be assigned at route
---@field tls_policy "opportunistic"|"none"|"encrypt"|"verify" can be assigned only
---@field source_ip string can be assigned only
---@field ehlo_name string can be assigned only
---@field priority integer may be assigned
---@field retry_at integer milliseconds since 1970; can be assigned only
---@field expire_at integer milliseconds since 1970; can be assigned only
---@field plugin string
---@field generation string
local Session = {}
---@param code? integer
---@param enhanced? string
---@param text? string
---@return mta.Verdict
function Session:accept(code, enhanced, text) end
---@overload fun(self, text: string): mta.Verdict
---@param code? integer 500 to 599
---@param enhanced? string such as "5.7.1"
---@param text? string
---@return mta.Verdict
function Session:reject(code, enhanced, text) end
---@overload fun(self, text: string): mta.Verdict
---@param code? integer 400 to 499
---@param enhanced? string such as "4.7.1"
---@param text? string
---@return mta.Verdict
function Session:defer(code, enhanced, text) end
---@param code? integer 421 or 554
---@param enhanced? string
---@param text? string
---@return mta.Verdict
function Session:drop(code, enhanced, text) end
---@return mta.Verdict
function Session:discard() end
---@return mta.Verdict
function Session:hold() end
---@param path string
function Session:add_recipient(path) end
---@param unwanted fun(r: mta.Recipient): boolean
function Session:remove_recipients(unwanted) end
---@param scope mta.Scope
---@param key string
---@return string?
function Session:attr(scope, key) end
---@param scope mta.Scope
---@param key string
---@param value string? nil deletes it
function Session:set_attr(scope, key, value) end

---@class mta.Config: { [string]: any }
config = {}
---@param key string
---@return string[]
function config:strings(key) end
---@param key string
---@param default? string
---@return string
function config:string(key, default) end
---@param key string
---@param default? integer
---@return integer
function config:int(key, default) end
---@param key string
---@param default? boolean
---@return boolean
function config:bool(key, default) end

log = {}
function log.debug(...) end
function log.info(...) end
function log.warn(...) end
function log.error(...) end

json = {}
---@return string
function json.encode(value) end
---@param text string
---@return any value, string? err
function json.decode(text) end

hex, base64 = {}, {}
---@param octets string
---@return string
function hex.encode(octets) end
---@param text string
---@return string? octets, string? err
function hex.decode(text) end
---@param octets string
---@return string
function base64.encode(octets) end
---@param text string
---@return string? octets, string? err
function base64.decode(text) end

---@return integer milliseconds since 1970
function now_ms() end
---@param n integer
---@return string
function random_bytes(n) end
---@param name string
---@return string? value, string? err
function secret(name) end
---@param name string
---@return fun(n?: integer)
function counter(name) end
---@param name string
---@return fun(n?: integer)
function gauge(name) end
---@param name string
---@return fun(n?: integer)
function histogram(name) end

kv = {}
---@return string?
function kv.get(key) end
---@param ttl? number seconds
---@return true? done, string? err
function kv.set(key, value, ttl) end
---@param ttl? number seconds
---@return true? done, string? err
function kv.set_sync(key, value, ttl) end
---@return boolean? added, string? err
function kv.add(key, value, ttl) end
---@return boolean? replaced, string? err
function kv.replace(key, value, ttl) end
---@return boolean? swapped, string? err
function kv.swap(key, old, new, ttl) end
---@return boolean? deleted, string? err
function kv.delete(key) end
---@param delta? integer
---@param ttl? number seconds
---@return integer? value, string? err
function kv.incr(key, delta, ttl) end
---@param delta? integer
---@param ttl? number seconds
---@return integer? value, string? err
function kv.incr_refresh(key, delta, ttl) end
---@param cost integer
---@param burst integer
---@param per_second number
---@return number? wait seconds; 0: taken
---@return string? err
function kv.take(key, cost, burst, per_second) end

dns = {}
---@alias mta.RecordType "A"|"AAAA"|"MX"|"TXT"|"PTR"|"NS"|"CNAME"|"SRV"|"TLSA"|"CAA"
---@param type mta.RecordType
---@param name string
---@return string[]? records, string? err
function dns.query(type, name) end
---@return string[]? addresses, string? err
function dns.addresses(host) end
---@return { preference: integer, host: string }[]? records, string? err
function dns.mx(domain) end
---@return string[]? records, string? err
function dns.txt(name) end
---@return string|false|nil answer, string? err
function dns.listed(zone, ip) end
---@param type mta.RecordType
function dns.prefetch(type, name) end
---@return integer seconds
function dns.ttl() end
---@return boolean
function dns.secure() end

---@class mta.Response
---@field status integer
---@field body string
local Response = {}
---@return string?
function Response:header(name) end
---@param seconds number
---@return boolean
function Response:ready(seconds) end
function Response:close() end

---@class mta.Request
---@field url string
---@field method? string default GET
---@field headers? { [string]: string }
---@field body? string
---@field timeout? number seconds
---@field part? "message"|"body"|"headers" of start_message

http = {}
---@return mta.Response? response, string? err
function http.get(url) end
---@return mta.Response? response, string? err
function http.post(url, body, content_type) end
---@param request mta.Request
---@return mta.Response? response, string? err
function http.request(request) end
---@param request mta.Request
---@return mta.Response? response, string? err
function http.start(request) end
---@param request mta.Request
---@return mta.Response? response, string? err
function http.start_message(request) end

crypto = {}
---@alias mta.Algorithm "sha1"|"sha256"|"sha512"|"ed25519"|"rsa"|"rsa-pss"|"ecdsa-p256"
---@param algorithm mta.Algorithm
---@return string? octets, string? err
function crypto.digest(algorithm, data) end
---@param algorithm mta.Algorithm
---@param form? "raw"|"simple"|"relaxed"
---@param limit? integer
---@return string? octets, string? err
function crypto.body_digest(algorithm, form, limit) end
---@param algorithm mta.Algorithm
---@return boolean? good, string? err
function crypto.verify(algorithm, key, signature, digest) end
---@param algorithm mta.Algorithm
---@return string? octets, string? err
function crypto.sign(key, algorithm, digest) end
---@param algorithm mta.Algorithm
---@return string? octets, string? err
function crypto.hmac(key, algorithm, data) end
---@return boolean? good, string? err
function crypto.check_password(hash, password) end

---@param name string
---@param key string
---@return string? value
function lookup(name, key) end
---@param topic string
---@param data string
---@return true? done, string? err
function emit(topic, data) end
