use crate::abi::{action, field, log_level, scope};
use crate::text::Text;
use crate::verdict::{check, enhanced, Result, Verdict};
use crate::{arena, host};
use core::fmt;

/// What a hook may ask and change.
pub struct Session {
    _private: (),
}

/// How urgent a line of the log is. The server's configuration says which are
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// For the author.
    Debug = log_level::DEBUG,
    /// What happens.
    Info = log_level::INFO,
    /// What the operator should look at.
    Warn = log_level::WARN,
    /// What does not work.
    Error = log_level::ERROR,
}

/// How long an attribute lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Scope {
    /// This connection.
    Session = scope::SESSION,
    /// This MAIL to its end.
    Transaction = scope::TRANSACTION,
    /// Kept with the message, also at routing and delivery.
    Message = scope::MESSAGE,
    /// Kept with the current recipient.
    Recipient = scope::RECIPIENT,
}

/// How much TLS a next hop must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum TlsPolicy {
    /// Use STARTTLS if it is offered.
    Opportunistic = 0,
    /// Never.
    None = 1,
    /// Require TLS, with any certificate.
    Encrypt = 2,
    /// Require TLS and a valid certificate.
    Verify = 3,
}

/// text is a field; who calls bounds its lifetime.
pub(crate) fn text(f: i32) -> Result<Text<'static>> {
    arena::read(|b| host::get(f, b)).map(|b| Text(b))
}

pub(crate) fn number(f: i32) -> i64 {
    host::get_num(f).max(0)
}

macro_rules! facts {
    ($($(#[$doc:meta])* $kind:ident $name:ident = $field:ident;)*) => {
        impl Session {$(facts!(@ $kind $name $field $(#[$doc])*);)*}
    };
    (@ text $name:ident $field:ident $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $name(&self) -> Text<'_> { text(field::$field).unwrap_or(Text::EMPTY) }
    };
    (@ number $name:ident $field:ident $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $name(&self) -> i64 { number(field::$field) }
    };
    (@ flag $name:ident $field:ident $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $name(&self) -> bool { number(field::$field) > 0 }
    };
    (@ set_text $name:ident $field:ident $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $name(&self, value: impl AsRef<[u8]>) -> Result { check(host::set(field::$field, value.as_ref())) }
    };
    (@ set_number $name:ident $field:ident $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $name(&self, value: i64) -> Result { check(host::set_num(field::$field, value)) }
    };
}

facts! {
    /// The client's address.
    text remote_ip = REMOTE_IP;
    /// The client's port.
    number remote_port = REMOTE_PORT;
    /// The address that the client connected to.
    text local_ip = LOCAL_IP;
    /// The port that the client connected to.
    number local_port = LOCAL_PORT;
    /// The listener's name in the configuration.
    text listener = LISTENER;
    /// The client's name in the DNS, forward-confirmed.
    text ptr = PTR_NAME;
    /// The session's name in the log.
    text id = SESSION_ID;
    /// Open connections from the client's address.
    number connections_from_ip = CONN_COUNT_IP;
    /// The proxy's address if one spoke for the client.
    text proxy_ip = PROXY_IP;
    /// Replaces the text of the 220 reply. Hook connect.
    set_text set_banner = BANNER;
    /// The name the client gave in HELO, EHLO or LHLO.
    text helo = HELO;
    /// Whether the client said EHLO or LHLO.
    flag esmtp = ESMTP;
    /// The EHLO keywords with their arguments, one a line. Hook ehlo.
    text extensions = EXTENSIONS;
    /// Replaces them. Hook ehlo.
    set_text set_extensions = EXTENSIONS;
    /// Whether the connection is encrypted.
    flag tls = TLS;
    /// 0x0303 for TLS 1.2, 0x0304 for TLS 1.3.
    number tls_version = TLS_VERSION;
    /// The cipher suite's name.
    text tls_cipher = TLS_CIPHER;
    /// The name the client asked for (SNI).
    text tls_server_name = TLS_SNI;
    /// The SHA-256 of the client's certificate, in hex.
    text client_certificate = CLIENT_CERT_FP;
    /// The SASL mechanism.
    text auth_mechanism = AUTH_MECH;
    /// The authenticated identity; at auth the name that the client gave.
    text auth_user = AUTH_USER;
    /// The authenticated identity; empty: none.
    text auth_id = AUTH_ID;
    /// Says who the client is, with the verdict ACCEPT. Hook auth.
    set_text set_auth_id = AUTH_ID;
    /// The names in the client's certificate if it was verified, one a line:
    /// `email:ann@example.org`.
    text certificate_names = CLIENT_CERT_NAMES;
    /// The keys of `auth_user`, where `auth_mechanism` begins with SCRAM-SHA-256: with
    /// the verdict ACCEPT the client is let in if it has their password. The text is that of
    /// RFC 5803 and PostgreSQL, or Dovecot's. Hook auth; needs the grant auth_password.
    set_text set_scram = AUTH_SCRAM;
    /// The verb in upper case. Hooks ehlo, auth, command.
    text verb = VERB;
    /// What follows the verb. Hooks ehlo, auth, command.
    text argument = ARGUMENT;
    /// Why a transaction or session ended. Hooks reset, close.
    text reason = REASON;

    /// The transaction's name in the log.
    text transaction_id = TX_ID;
    /// What MAIL FROM carries, without brackets; empty: the null reverse-path.
    text reverse_path = MAIL_FROM;
    /// Replaces it. Hooks mail to message.
    set_text set_reverse_path = MAIL_FROM;
    /// The SIZE parameter of MAIL in octets; 0: not given.
    number declared_size = MAIL_SIZE;
    /// The BODY parameter of MAIL: 0 not given, 1 7BIT, 2 8BITMIME, 3 BINARYMIME.
    number body_type = MAIL_BODY;
    /// Whether MAIL has this parameter.
    flag smtputf8 = SMTPUTF8;
    /// Whether MAIL has this parameter.
    flag require_tls = REQUIRETLS;
    /// The ENVID parameter of MAIL.
    text envelope_id = DSN_ENVID;
    /// The largest content that is taken, in octets.
    number size_limit = SIZE_LIMIT;
    /// Lowers it. Hook data.
    set_number set_size_limit = SIZE_LIMIT;

    /// The length of the content in octets.
    number message_size = MSG_SIZE;
    /// The length of the body in octets.
    number body_size = BODY_SIZE;
    /// The value of the field Message-ID.
    text message_id = MSG_ID;
    /// How many servers the message has passed.
    number received_count = RECEIVED_COUNT;

    /// The message's name in the queue and in the log.
    text queue_id = QUEUE_ID;
    /// The domain of the recipients that are routed or delivered.
    text domain = DOMAIN;
    /// The number of this attempt, 1 for the first.
    number attempt = ATTEMPT;
    /// When the message was accepted, in milliseconds since 1970.
    number queued = FIRST_QUEUED;
    /// The code of the remote server's last reply; 0: none.
    number last_code = LAST_CODE;
    /// Its text.
    text last_text = LAST_TEXT;
    /// The host that gave it.
    text last_mx = LAST_MX;
    /// Where the recipients go, as the configuration writes it.
    text next_hop = TRANSPORT;
    /// Says where the recipients go: `smtp:HOST:PORT`, `lmtp:HOST:PORT`,
    /// `lmtp:unix:PATH`, `maildir:PATH`, `mx`, `mx:DOMAIN` or `discard`. Hook
    /// route, with the verdict ACCEPT, which ends the asking.
    set_text set_next_hop = TRANSPORT;
    /// Sets the local address to connect from. Hooks route, attempt.
    set_text set_source_ip = SOURCE_IP;
    /// Sets the name to give in EHLO. Hooks route, attempt.
    set_text set_ehlo_name = EHLO_NAME;
    /// The message's place among others: higher first, 0 normal.
    number priority = PRIORITY;
    /// Sets it, 0 to 1000. Hooks route, attempt, result.
    set_number set_priority = PRIORITY;
    /// Sets when to try again, in milliseconds since 1970. Hooks route, attempt,
    /// result.
    set_number set_retry = NEXT_RETRY;
    /// Sets when to give up, in milliseconds since 1970. Hooks route, attempt,
    /// result.
    set_number set_expire = EXPIRE;

    /// This plugin's name in the configuration.
    text plugin = PLUGIN;
    /// Identifies this module with its configuration in the log.
    text generation = GENERATION;
}

impl Session {
    pub(crate) fn new() -> Session {
        Session { _private: () }
    }

    /// The password that the client gave. Hook auth; needs the grant
    /// auth_password.
    pub fn auth_password(&self) -> Result<Text<'_>> {
        text(field::AUTH_PASS)
    }

    /// Says how much TLS the next hop must do. Hooks route, attempt.
    pub fn set_tls_policy(&self, policy: TlsPolicy) -> Result {
        check(host::set_num(field::TLS_POLICY, policy as i64))
    }

    /// Reads the body from `off` on into `buf`; 0 at its end. Hooks message,
    /// route, attempt, result; needs the grant body = "read".
    pub fn body_read(&self, off: i64, buf: &mut [u8]) -> Result<usize> {
        crate::verdict::length(host::body_read(off, buf))
    }

    /// Appends to a new body, which is made of what `body_write` gives and of
    /// ranges of the old one in the order of the calls; without a call the body
    /// stays. Hook message; needs the grant body = "write".
    pub fn body_write(&self, data: impl AsRef<[u8]>) -> Result {
        check(host::body_write(data.as_ref()))
    }

    /// Appends `len` octets of the old body from `off` on, which do not pass
    /// through the plugin; see [`body_write`](Session::body_write).
    pub fn body_splice(&self, off: i64, len: i64) -> Result {
        check(host::body_splice(off, len))
    }

    /// An attribute if it is set. The key is one of this plugin's own, or
    /// `plugin/key` if that is granted.
    pub fn attr(&self, scope: Scope, key: &str) -> Option<Text<'_>> {
        arena::read(|b| host::attr_get(scope as i32, key.as_bytes(), b)).ok().map(|b| Text(b))
    }

    /// Sets an attribute.
    pub fn set_attr(&self, scope: Scope, key: &str, value: impl AsRef<[u8]>) -> Result {
        check(host::attr_set(scope as i32, key.as_bytes(), value.as_ref()))
    }

    /// Deletes an attribute.
    pub fn delete_attr(&self, scope: Scope, key: &str) -> Result {
        check(host::attr_del(scope as i32, key.as_bytes()))
    }

    /// One text of several: `s.concat(&[&"[list] ", &subject])`. Too long for
    /// the memory: the empty text.
    pub fn concat(&self, parts: &[&dyn AsRef<[u8]>]) -> Text<'_> {
        let size = parts.iter().map(|p| p.as_ref().len()).sum();
        let b = match arena::alloc(size) {
            Ok(b) => b,
            Err(_) => return Text::EMPTY,
        };
        let mut n = 0;
        for p in parts.iter().map(|p| p.as_ref()) {
            b[n..n + p.len()].copy_from_slice(p);
            n += p.len();
        }
        Text(b)
    }

    /// A number in decimal.
    pub fn decimal(&self, v: i64) -> Text<'_> {
        let (digits, from) = crate::text::decimal(v);
        self.concat(&[&&digits[from..]])
    }

    /// A text made with `format_args!`. It costs some 10 KB; see [`concat`](Session::concat).
    pub fn format(&self, args: fmt::Arguments<'_>) -> Text<'_> {
        struct Count(usize);
        impl fmt::Write for Count {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                self.0 += s.len();
                Ok(())
            }
        }
        struct Fill(&'static mut [u8], usize);
        impl fmt::Write for Fill {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                let to = self.0.get_mut(self.1..self.1 + s.len()).ok_or(fmt::Error)?;
                to.copy_from_slice(s.as_bytes());
                self.1 += s.len();
                Ok(())
            }
        }
        let mut c = Count(0);
        let _ = fmt::write(&mut c, args);
        match arena::alloc(c.0) {
            Ok(b) => {
                let mut f = Fill(b, 0);
                let _ = fmt::write(&mut f, args);
                let Fill(b, n) = f;
                Text(&b[..n])
            }
            Err(_) => Text::EMPTY,
        }
    }

    fn answer(&self, a: u8, code: i32, enh: &str, text: impl AsRef<[u8]>) -> Verdict {
        // The host judges code and text with the verdict; a refusal shows there.
        host::reply(code, enhanced(enh), text.as_ref());
        Verdict::new(a, if a == action::ACCEPT { 0 } else { code })
    }

    /// REJECT with a reply: a code of 500 to 599, an enhanced status code such
    /// as "5.7.1" (empty: the server's choice), and a text, whose lines are
    /// separated by LF.
    pub fn reject(&self, code: i32, enhanced: &str, text: impl AsRef<[u8]>) -> Verdict {
        self.answer(action::REJECT, code, enhanced, text)
    }

    /// DEFER with a reply: a code of 400 to 499; see [`reject`](Session::reject).
    pub fn defer(&self, code: i32, enhanced: &str, text: impl AsRef<[u8]>) -> Verdict {
        self.answer(action::DEFER, code, enhanced, text)
    }

    /// DROP with a reply: 421 or 554; see [`reject`](Session::reject).
    pub fn drop(&self, code: i32, enhanced: &str, text: impl AsRef<[u8]>) -> Verdict {
        self.answer(action::DROP, code, enhanced, text)
    }

    /// ACCEPT with a reply: a code of 200 to 299, for commands that have no
    /// reply of the server's; see [`reject`](Session::reject).
    pub fn accept(&self, code: i32, enhanced: &str, text: impl AsRef<[u8]>) -> Verdict {
        self.answer(action::ACCEPT, code, enhanced, text)
    }
}
