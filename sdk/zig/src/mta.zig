//! What the author of a plugin reads: the facts of a session, the changes that
//! can be made to it, and the verdicts.
//!
//!     const mta = @import("mta");
//!
//!     comptime {
//!         mta.plugin(.{ .rcpt = rcpt });
//!     }
//!
//!     fn rcpt() mta.Verdict {
//!         if (mta.eql(mta.recipient().local(), "nobody")) {
//!             return mta.reject(550, "5.1.1", "there is no such mailbox");
//!         }
//!         return mta.CONTINUE;
//!     }
//!
//! The server runs an instance of the plugin for each session and for each
//! delivery; variables live as long, and no two calls run at once. What must
//! last longer is an attribute (setAttr).
//!
//! A function that reads returns "", 0, false or null for what is not there, not
//! known at this hook or not granted. Texts live until the hook returns. A
//! function that changes something returns an Error, and changes nothing then.
//! A hook that returns an error, or panics, fails: on_error of the configuration
//! is the verdict, and the log has the reason.
//!
//! Changes are kept if the hook returns CONTINUE or ACCEPT, and dropped
//! otherwise.

const std = @import("std");
const text = @import("text.zig");

/// The contract by number, for what has no function here.
pub const abi = @import("abi.zig");
const host = abi.host;
const Field = abi.Field;

/// A hook's answer, as the contract packs it.
pub const Verdict = packed struct(u32) {
    action: u8,
    flags: u8 = 0,
    code: u16 = 0,

    /// No further asking of this plugin in this transaction.
    pub fn detachTransaction(v: Verdict) Verdict {
        return v.with(abi.Flag.DETACH_TX);
    }
    /// No further asking of this plugin in this session.
    pub fn detachSession(v: Verdict) Verdict {
        return v.with(abi.Flag.DETACH_SESSION);
    }
    /// DROP without a word.
    pub fn silently(v: Verdict) Verdict {
        return v.with(abi.Flag.NO_REPLY);
    }
    fn with(v: Verdict, flag: u8) Verdict {
        return .{ .action = v.action, .flags = v.flags | flag, .code = v.code };
    }
};

/// No opinion: the next plugin is asked, finally the server's own rules.
pub const CONTINUE = Verdict{ .action = abi.Action.CONTINUE };
/// Stop asking at this hook; at rcpt: take the recipient.
pub const ACCEPT = Verdict{ .action = abi.Action.ACCEPT };
/// Refuse for ever; after acceptance: bounce.
pub const REJECT = Verdict{ .action = abi.Action.REJECT };
/// Refuse for now.
pub const DEFER = Verdict{ .action = abi.Action.DEFER };
/// Take it and forget it.
pub const DISCARD = Verdict{ .action = abi.Action.DISCARD };
/// Take it and keep it for an operator.
pub const HOLD = Verdict{ .action = abi.Action.HOLD };
/// Reply and close the connection.
pub const DROP = Verdict{ .action = abi.Action.DROP };

/// REJECT with a reply: a code of 500 to 599, an enhanced status code such as
/// "5.7.1" (empty: the server's choice), and a text, whose lines are separated
/// by LF.
pub fn reject(code: u16, status: []const u8, words: []const u8) Verdict {
    return answer(abi.Action.REJECT, code, status, words);
}

/// DEFER with a reply: a code of 400 to 499; see reject.
pub fn deferred(code: u16, status: []const u8, words: []const u8) Verdict {
    return answer(abi.Action.DEFER, code, status, words);
}

/// DROP with a reply: 421 or 554; see reject.
pub fn drop(code: u16, status: []const u8, words: []const u8) Verdict {
    return answer(abi.Action.DROP, code, status, words);
}

/// ACCEPT with a reply: a code of 200 to 299, for commands that have no reply of
/// the server's; see reject.
pub fn accept(code: u16, status: []const u8, words: []const u8) Verdict {
    _ = answer(abi.Action.ACCEPT, code, status, words);
    return ACCEPT; // the code of an acceptance is in the reply only
}

fn answer(action: u8, code: u16, status: []const u8, words: []const u8) Verdict {
    // The server judges code and text with the verdict; a refusal shows there.
    _ = host.reply(code, text.enhanced(status), words.ptr, words.len);
    return .{ .action = action, .code = code };
}

/// Exports what the server calls. hooks is a struct of functions by the hooks'
/// names: connect, tls, ehlo, auth, command, mail, rcpt, data, headers, message,
/// reset, close, route, attempt, result, dsn, tick, each fn () Verdict or fn ()
/// !Verdict; and init and selftest, fn () void or fn () !void.
pub fn plugin(comptime hooks: anytype) void {
    if (!@hasField(@TypeOf(hooks), "init")) {
        @export(nothing, .{ .name = "mta1_init" });
    }
    inline for (@typeInfo(@TypeOf(hooks)).Struct.fields) |f| {
        const handler = @field(hooks, f.name);
        if (comptime eql(f.name, "init")) {
            @export(Start(handler, f.name).call, .{ .name = "mta1_init" });
        } else if (comptime eql(f.name, "selftest")) {
            @export(Start(handler, f.name).call, .{ .name = "mta1_on_selftest" });
        } else {
            if (!comptime isHook(f.name)) @compileError("there is no hook called " ++ f.name);
            @export(Hook(handler, f.name).call, .{ .name = "mta1_on_" ++ f.name });
        }
    }
}

fn isHook(name: []const u8) bool {
    for (abi.hooks) |h| if (eql(h, name)) return true;
    return false;
}

fn nothing() callconv(.C) i32 {
    return abi.Code.OK;
}

fn Hook(comptime handler: anytype, comptime name: []const u8) type {
    return struct {
        fn call() callconv(.C) i32 {
            begin();
            const v: Verdict = if (comptime mayFail(handler)) handler() catch |err| {
                fail(name, err);
                @trap();
            } else handler();
            return @bitCast(v);
        }
    };
}

fn Start(comptime handler: anytype, comptime name: []const u8) type {
    return struct {
        fn call() callconv(.C) i32 {
            begin();
            if (comptime mayFail(handler)) {
                handler() catch |err| {
                    fail(name, err);
                    return abi.Code.E_INVAL;
                };
            } else handler();
            return if (config.mistaken) abi.Code.E_INVAL else abi.Code.OK;
        }
    };
}

fn mayFail(comptime handler: anytype) bool {
    return @typeInfo(@typeInfo(@TypeOf(handler)).Fn.return_type.?) == .ErrorUnion;
}

fn fail(comptime name: []const u8, err: anyerror) void {
    log(.err, join(&.{ name, ": ", @errorName(err) }));
}

/// What a panic does, in Debug and ReleaseSafe: it logs its message and fails the
/// plugin. Say pub const panic = mta.panic; in the root file.
pub fn panic(message: []const u8, _: ?*std.builtin.StackTrace, _: ?usize) noreturn {
    log(.err, message);
    @trap();
}

// Memory and texts.

/// Memory that lasts as long as the instance.
pub const allocator = std.heap.wasm_allocator;

/// Memory that lasts until the hook returns.
pub const arena = std.mem.Allocator{ .ptr = undefined, .vtable = &.{ .alloc = arenaAlloc, .resize = arenaResize, .free = arenaFree } };

// An instance whose memory has grown is not used for another session, so what
// most hooks need is there from the beginning.
var first_memory: [16 << 10]u8 = undefined;
var first = std.heap.FixedBufferAllocator.init(&first_memory);
var more = std.heap.ArenaAllocator.init(allocator);

fn begin() void {
    first.reset();
    _ = more.reset(.free_all);
}

fn arenaAlloc(_: *anyopaque, len: usize, log2_align: u8, caller: usize) ?[*]u8 {
    return first.allocator().rawAlloc(len, log2_align, caller) orelse more.allocator().rawAlloc(len, log2_align, caller);
}

fn arenaResize(_: *anyopaque, buf: []u8, log2_align: u8, len: usize, caller: usize) bool {
    return first.ownsSlice(buf) and first.allocator().rawResize(buf, log2_align, len, caller);
}

fn arenaFree(_: *anyopaque, _: []u8, _: u8, _: usize) void {}

/// Compares two texts.
pub fn eql(a: []const u8, b: []const u8) bool {
    return std.mem.eql(u8, a, b);
}

/// Tells whether a text stands in a list.
pub fn contains(list: []const []const u8, wanted: []const u8) bool {
    for (list) |s| if (eql(s, wanted)) return true;
    return false;
}

/// Puts texts together. The result lives until the hook returns.
pub fn join(parts: []const []const u8) []const u8 {
    return std.mem.concat(arena, u8, parts) catch outOfMemory();
}

fn outOfMemory() noreturn {
    log(.err, "out of memory");
    @trap();
}

/// What a change may end with: a code of the contract.
pub const Error = error{
    Invalid, // malformed
    NotFound, // there is no such thing
    Denied, // not granted
    State, // not possible in this hook
    Limit, // a quota is used up
    Timeout,
    Unsupported,
    Unavailable, // a temporary fault of the server
    Conflict, // the field may occur once, and is there
    TooLarge,
    BadSignature, // the signature is not good
    NoSuchDomain,
    ServerFailure, // of a name server
    Bogus, // DNSSEC validation failed
    Other,
};

/// The Error of a code below zero.
pub fn check(code: i32) Error!void {
    if (code >= 0) return;
    return switch (code) {
        abi.Code.E_INVAL => error.Invalid,
        abi.Code.E_NOT_FOUND => error.NotFound,
        abi.Code.E_DENIED => error.Denied,
        abi.Code.E_STATE => error.State,
        abi.Code.E_LIMIT => error.Limit,
        abi.Code.E_TIMEOUT => error.Timeout,
        abi.Code.E_UNSUPPORTED => error.Unsupported,
        abi.Code.E_UNAVAIL => error.Unavailable,
        abi.Code.E_CONFLICT => error.Conflict,
        abi.Code.E_TOO_LARGE => error.TooLarge,
        abi.Code.E_BAD_SIG => error.BadSignature,
        abi.Code.E_NXDOMAIN => error.NoSuchDomain,
        abi.Code.E_SERVFAIL => error.ServerFailure,
        abi.Code.E_BOGUS => error.Bogus,
        else => error.Other,
    };
}

fn checkWide(n: i64) Error!u64 {
    if (n < 0) try check(@intCast(@max(n, std.math.minInt(i32))));
    return @intCast(n);
}

/// false for the code no.
fn unless(no: i32, code: i32) Error!bool {
    if (code == no) return false;
    try check(code);
    return true;
}

/// Receives what the server gives; only what is longer costs a second call. A
/// plugin is asked one thing at a time.
var scratch: [4096]u8 = undefined;

/// Calls f(args..., buf, cap).
fn readOr(memory: std.mem.Allocator, comptime f: anytype, args: anytype) Error![]const u8 {
    const n = @call(.auto, f, args ++ .{ @as([*]u8, &scratch), @as(usize, scratch.len) });
    try check(n);
    const out = memory.alloc(u8, @intCast(n)) catch outOfMemory();
    if (out.len <= scratch.len) {
        @memcpy(out, scratch[0..out.len]);
    } else if (@call(.auto, f, args ++ .{ out.ptr, out.len }) != n) {
        return error.Conflict;
    }
    return out;
}

/// As readOr. null: it gave an error.
fn read(memory: std.mem.Allocator, comptime f: anytype, args: anytype) ?[]const u8 {
    return readOr(memory, f, args) catch null;
}

/// A field of the kind "octets", one of abi.Field.
pub fn get(field: i32) ?[]const u8 {
    return read(arena, host.get, .{field});
}

/// A field of the kind "number".
pub fn getNumber(field: i32) ?i64 {
    const n = host.get_num(field);
    return if (n < 0) null else n;
}

/// Changes a field of the kind "octets".
pub fn set(field: i32, value: []const u8) Error!void {
    return check(host.set(field, value.ptr, value.len));
}

/// Changes a field of the kind "number".
pub fn setNumber(field: i32, value: i64) Error!void {
    return check(host.set_num(field, value));
}

fn octets(field: i32) []const u8 {
    return get(field) orelse "";
}

fn number(field: i32) i64 {
    return getNumber(field) orelse 0;
}

fn small(field: i32) u32 {
    return @truncate(@as(u64, @intCast(number(field))));
}

fn yes(field: i32) bool {
    return number(field) != 0;
}

fn length(list: i32) u32 {
    return @intCast(@max(host.list_len(list), 0));
}

fn element(list: i32, index: u32, field: i32) []const u8 {
    return read(arena, host.list_get, .{ list, @as(i32, @intCast(index)), field }) orelse "";
}

fn elementNumber(list: i32, index: u32, field: i32) u32 {
    const n = host.list_num(list, @intCast(index), field);
    return if (n < 0) 0 else @truncate(@as(u64, @intCast(n)));
}

// The client.

/// The client's address.
pub fn remoteIP() []const u8 {
    return octets(Field.REMOTE_IP);
}
/// The client's port.
pub fn remotePort() u32 {
    return small(Field.REMOTE_PORT);
}
/// The address that the client connected to.
pub fn localIP() []const u8 {
    return octets(Field.LOCAL_IP);
}
/// The port that the client connected to.
pub fn localPort() u32 {
    return small(Field.LOCAL_PORT);
}
/// The listener's name in the configuration.
pub fn listener() []const u8 {
    return octets(Field.LISTENER);
}
/// The client's name in the DNS, forward-confirmed.
pub fn ptr() []const u8 {
    return octets(Field.PTR_NAME);
}
/// The session's name in the log.
pub fn sessionID() []const u8 {
    return octets(Field.SESSION_ID);
}
/// Replaces the text of the 220 reply. Hook connect.
pub fn setBanner(line: []const u8) Error!void {
    return set(Field.BANNER, line);
}
/// The name that the client gave in HELO, EHLO or LHLO.
pub fn helo() []const u8 {
    return octets(Field.HELO);
}
/// Whether the client said EHLO or LHLO.
pub fn esmtp() bool {
    return yes(Field.ESMTP);
}
/// The EHLO keywords with their arguments, one a line. Hook ehlo.
pub fn extensions() []const u8 {
    return octets(Field.EXTENSIONS);
}
/// Replaces them. Hook ehlo.
pub fn setExtensions(lines: []const u8) Error!void {
    return set(Field.EXTENSIONS, lines);
}
/// Whether the connection is encrypted.
pub fn tls() bool {
    return yes(Field.TLS);
}
/// 0x0303 for TLS 1.2, 0x0304 for TLS 1.3.
pub fn tlsVersion() u32 {
    return small(Field.TLS_VERSION);
}
/// The name of the cipher suite.
pub fn tlsCipher() []const u8 {
    return octets(Field.TLS_CIPHER);
}
/// The name that the client asked for (SNI).
pub fn tlsServerName() []const u8 {
    return octets(Field.TLS_SNI);
}
/// The SHA-256 of the client's certificate, in hex.
pub fn clientCertificate() []const u8 {
    return octets(Field.CLIENT_CERT_FP);
}
/// The authenticated identity; "": none.
pub fn authID() []const u8 {
    return octets(Field.AUTH_ID);
}
/// The name that the client gave.
pub fn authUser() []const u8 {
    return octets(Field.AUTH_USER);
}
/// Says who the client is, with the verdict ACCEPT. Hook auth.
pub fn setAuthID(id: []const u8) Error!void {
    return set(Field.AUTH_ID, id);
}
/// The keys of authUser, by SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: with the verdict ACCEPT
/// the client is let in if it has their password. The text is that of RFC 5803 and PostgreSQL,
/// or Dovecot's. Hook auth; needs the grant auth_password.
pub fn setScram(keys: []const u8) Error!void {
    return set(Field.AUTH_SCRAM, keys);
}
/// The names in the client's certificate if it was verified, one a line: email:ann@example.org.
pub fn certificateNames() []const u8 {
    return octets(Field.CLIENT_CERT_NAMES);
}
/// The verb, in upper case. Hook command.
pub fn verb() []const u8 {
    return octets(Field.VERB);
}
/// What follows the verb. Hook command.
pub fn argument() []const u8 {
    return octets(Field.ARGUMENT);
}
/// Why a transaction or session ended. Hooks reset and close.
pub fn reason() []const u8 {
    return octets(Field.REASON);
}

// The transaction. Changes need the grant envelope = "write".

/// The transaction's name in the log.
pub fn transactionID() []const u8 {
    return octets(Field.TX_ID);
}
/// What MAIL FROM carries, without brackets; "": the null reverse-path.
pub fn reversePath() []const u8 {
    return octets(Field.MAIL_FROM);
}
/// Replaces it. Hooks mail to message.
pub fn setReversePath(path: []const u8) Error!void {
    return set(Field.MAIL_FROM, path);
}
/// The SIZE parameter of MAIL in octets; 0: not given.
pub fn declaredSize() i64 {
    return number(Field.MAIL_SIZE);
}
/// The BODY parameter of MAIL: 0 not given, 1 7BIT, 2 8BITMIME, 3 BINARYMIME.
pub fn bodyType() u32 {
    return small(Field.MAIL_BODY);
}
/// Whether MAIL has this parameter.
pub fn smtputf8() bool {
    return yes(Field.SMTPUTF8);
}
/// Whether MAIL has this parameter.
pub fn requireTLS() bool {
    return yes(Field.REQUIRETLS);
}
/// The ENVID parameter of MAIL.
pub fn envelopeID() []const u8 {
    return octets(Field.DSN_ENVID);
}
/// The largest content that is taken, in octets.
pub fn sizeLimit() i64 {
    return number(Field.SIZE_LIMIT);
}
/// Lowers it. Hook data.
pub fn setSizeLimit(size: i64) Error!void {
    return setNumber(Field.SIZE_LIMIT, size);
}

/// The recipient that is asked about. Hook rcpt.
pub fn recipient() Recipient {
    return .{ .index = small(Field.CUR_RCPT) };
}
/// The number of recipients; they are Recipient{ .index = 0 } and so on.
pub fn recipientCount() u32 {
    return length(abi.List.RCPT);
}
/// Adds a recipient behind the others. Hooks rcpt to message.
pub fn addRecipient(path: []const u8) Error!void {
    return check(host.list_insert(abi.List.RCPT, -1, path.ptr, path.len));
}

/// One recipient of the message, by its place in the list. Adding and removing
/// others may change the place.
pub const Recipient = struct {
    index: u32,

    /// The address, without brackets.
    pub fn forwardPath(r: Recipient) []const u8 {
        return element(abi.List.RCPT, r.index, abi.Element.RCPT_ADDR);
    }
    /// The local part, unquoted.
    pub fn local(r: Recipient) []const u8 {
        return element(abi.List.RCPT, r.index, abi.Element.RCPT_LOCAL);
    }
    /// The domain in lower case and A-labels.
    pub fn domain(r: Recipient) []const u8 {
        return element(abi.List.RCPT, r.index, abi.Element.RCPT_DOMAIN);
    }
    /// The forward-path before it was rewritten; "": it was not.
    pub fn original(r: Recipient) []const u8 {
        return element(abi.List.RCPT, r.index, abi.Element.RCPT_ORIGINAL);
    }
    /// The ORCPT parameter of RCPT.
    pub fn orcpt(r: Recipient) []const u8 {
        return element(abi.List.RCPT, r.index, abi.Element.RCPT_ORCPT);
    }
    /// The NOTIFY parameter of RCPT: a sum of 1 NEVER, 2 SUCCESS, 4 FAILURE, 8
    /// DELAY; 0: not given.
    pub fn notify(r: Recipient) u32 {
        return elementNumber(abi.List.RCPT, r.index, abi.Element.RCPT_NOTIFY);
    }
    /// 0 deferred, 1 delivered, 2 failed. Hook result.
    pub fn status(r: Recipient) u32 {
        return elementNumber(abi.List.RCPT, r.index, abi.Element.RCPT_STATUS);
    }
    /// Replaces the address. Hooks rcpt (the current one) to message.
    pub fn setForwardPath(r: Recipient, path: []const u8) Error!void {
        return check(host.list_set(abi.List.RCPT, @intCast(r.index), abi.Element.RCPT_ADDR, path.ptr, path.len));
    }
    /// Takes the recipient out. Hook message, and at rcpt any but the current
    /// one. Go from the last to the first.
    pub fn remove(r: Recipient) Error!void {
        return check(host.list_remove(abi.List.RCPT, @intCast(r.index)));
    }
};

/// The header section. Hooks headers, message, route, attempt, result; needs the
/// grant headers = "read", for changes "write". Changes are possible at headers,
/// message and attempt. Names are compared without regard to case; values are
/// unfolded when read and folded when written.
pub const headers = struct {
    const list = abi.List.HEADER;

    /// The number of fields.
    pub fn count() u32 {
        return length(list);
    }
    /// The name of the field at a place.
    pub fn name(index: u32) []const u8 {
        return element(list, index, abi.Element.HEADER_NAME);
    }
    /// The value of the field at a place.
    pub fn value(index: u32) []const u8 {
        return element(list, index, abi.Element.HEADER_VALUE);
    }
    /// The place of the first field of this name, from a place on.
    pub fn find(field: []const u8, from: u32) ?u32 {
        const i = host.list_find(list, @intCast(from), field.ptr, field.len);
        return if (i < 0) null else @intCast(i);
    }
    /// The value of the first field of this name; null: there is none.
    pub fn get(field: []const u8) ?[]const u8 {
        return value(find(field, 0) orelse return null);
    }
    /// The header section as it stands, with folds and the empty line.
    pub fn raw() []const u8 {
        return octets(Field.RAW_HEADERS);
    }
    /// Appends a field. error.Conflict: it may occur once, and is there.
    pub fn add(field: []const u8, words: []const u8) Error!void {
        return insert(-1, field, words);
    }
    /// Puts a field on top, where trace fields belong.
    pub fn prepend(field: []const u8, words: []const u8) Error!void {
        return insert(0, field, words);
    }
    /// Gives a name this one value: changes the first field, removes further
    /// ones, and appends a field if there is none.
    pub fn set(field: []const u8, words: []const u8) Error!void {
        const i = host.list_find(list, 0, field.ptr, field.len);
        if (i == abi.Code.E_NOT_FOUND) return add(field, words);
        try check(i);
        try check(host.list_set(list, i, abi.Element.HEADER_VALUE, words.ptr, words.len));
        return removeFrom(i + 1, field);
    }
    /// Removes all fields of this name.
    pub fn remove(field: []const u8) Error!void {
        return removeFrom(0, field);
    }

    fn removeFrom(from: i32, field: []const u8) Error!void {
        var i = from;
        while (true) {
            i = host.list_find(list, i, field.ptr, field.len);
            if (i == abi.Code.E_NOT_FOUND) return;
            try check(i);
            try check(host.list_remove(list, i));
        }
    }
    fn insert(index: i32, field: []const u8, words: []const u8) Error!void {
        const line = join(&.{ field, ": ", words });
        return check(host.list_insert(list, index, line.ptr, line.len));
    }
};

// The content.

/// The length of the content in octets.
pub fn messageSize() i64 {
    return number(Field.MSG_SIZE);
}
/// The value of the field Message-ID.
pub fn messageID() []const u8 {
    return octets(Field.MSG_ID);
}
/// The number of Received fields: how many servers the message has passed.
pub fn receivedCount() u32 {
    return small(Field.RECEIVED_COUNT);
}
/// The length of the body in octets.
pub fn bodySize() i64 {
    return number(Field.BODY_SIZE);
}
/// Fills buf with octets of the body from an offset on; none: the end. Hooks
/// message, route, attempt, result; needs the grant body = "read".
pub fn readBody(offset: i64, buf: []u8) Error![]u8 {
    const n = host.body_read(offset, buf.ptr, buf.len);
    try check(n);
    return buf[0..@intCast(n)];
}

/// Appends to a new body, which is made of what writeBody gives and of ranges of
/// the old one in the order of the calls; without a call the body stays. Hook
/// message; needs the grant body = "write".
pub fn writeBody(data: []const u8) Error!void {
    return check(host.body_write(data.ptr, data.len));
}
/// Appends len octets of the old body from an offset on, which do not pass
/// through the plugin; see writeBody.
pub fn spliceBody(offset: i64, len: i64) Error!void {
    return check(host.body_splice(offset, len));
}

/// A queue entry on its way. Hooks route, attempt, result, dsn. Changes need the
/// grant envelope = "write".
pub const delivery = struct {
    /// The message's name in the queue and in the log.
    pub fn queueID() []const u8 {
        return octets(Field.QUEUE_ID);
    }
    /// The domain of the recipients.
    pub fn domain() []const u8 {
        return octets(Field.DOMAIN);
    }
    /// The number of this attempt, 1 for the first.
    pub fn attempt() u32 {
        return small(Field.ATTEMPT);
    }
    /// When the message was accepted, in milliseconds since 1970.
    pub fn queued() i64 {
        return number(Field.FIRST_QUEUED);
    }
    /// The code of the last reply of a remote server; 0: there was none.
    pub fn lastCode() u32 {
        return small(Field.LAST_CODE);
    }
    /// Its text.
    pub fn lastText() []const u8 {
        return octets(Field.LAST_TEXT);
    }
    /// The host that gave it.
    pub fn lastMX() []const u8 {
        return octets(Field.LAST_MX);
    }
    /// Where the recipients go, as the configuration writes it.
    pub fn nextHop() []const u8 {
        return octets(Field.TRANSPORT);
    }
    /// Says where the recipients go: "smtp:HOST:PORT", "lmtp:HOST:PORT",
    /// "lmtp:unix:PATH", "maildir:PATH", "mx", "mx:DOMAIN" or "discard". Hook
    /// route, with the verdict ACCEPT, which ends the asking.
    pub fn setNextHop(hop: []const u8) Error!void {
        return set(Field.TRANSPORT, hop);
    }
    /// How much TLS the next hop must do: 0 opportunistic, 1 none, 2 encrypt, 3
    /// verify. Hooks route, attempt.
    pub fn setTLSPolicy(policy: i64) Error!void {
        return setNumber(Field.TLS_POLICY, policy);
    }
    /// The local address to connect from. Hooks route, attempt.
    pub fn setSourceIP(ip: []const u8) Error!void {
        return set(Field.SOURCE_IP, ip);
    }
    /// The name to give in EHLO. Hooks route, attempt.
    pub fn setEHLOName(words: []const u8) Error!void {
        return set(Field.EHLO_NAME, words);
    }
    /// 0 normal to 1000 first.
    pub fn priority() u32 {
        return small(Field.PRIORITY);
    }
    /// Sets it. Hooks route, attempt, result.
    pub fn setPriority(p: u32) Error!void {
        return setNumber(Field.PRIORITY, p);
    }
    /// When to try again, in milliseconds since 1970. Hook result.
    pub fn setRetry(at: i64) Error!void {
        return setNumber(Field.NEXT_RETRY, at);
    }
    /// When to give up, in milliseconds since 1970. Hooks route, attempt, result.
    pub fn setExpire(at: i64) Error!void {
        return setNumber(Field.EXPIRE, at);
    }
};

/// How long an attribute lasts.
pub const Scope = enum(i32) {
    session = abi.Scope.SESSION, // this connection
    transaction = abi.Scope.TRANSACTION, // MAIL to its end
    message = abi.Scope.MESSAGE, // kept with the message, also at routing and delivery
    recipient = abi.Scope.RECIPIENT, // kept with the current recipient
};

/// An attribute; null: it is not set. key is one of this plugin's own, or
/// "plugin/key" if that is granted.
pub fn attr(scope: Scope, key: []const u8) ?[]const u8 {
    return read(arena, host.attr_get, .{ @intFromEnum(scope), key.ptr, key.len });
}
/// Sets an attribute.
pub fn setAttr(scope: Scope, key: []const u8, value: []const u8) Error!void {
    return check(host.attr_set(@intFromEnum(scope), key.ptr, key.len, value.ptr, value.len));
}
/// Removes an attribute.
pub fn removeAttr(scope: Scope, key: []const u8) Error!void {
    return check(host.attr_del(@intFromEnum(scope), key.ptr, key.len));
}

/// The table [plugin.config]. Read it in init; a value of the wrong type refuses
/// the plugin, and the log says which. Texts last as long as the instance.
pub const config = struct {
    var mistaken = false;

    /// Says that a value is wrong, with the reason for the operator: init fails.
    pub fn mistake(why: []const u8) void {
        log(.err, join(&.{ "config: ", why }));
        mistaken = true;
    }
    /// All of it, a JSON object.
    pub fn json() []const u8 {
        return member("") orelse "{}";
    }
    /// A text; of another type, its JSON. null: it is missing.
    pub fn string(key: []const u8) ?[]const u8 {
        if (key.len == 0) return null; // would be the whole
        return member(key);
    }
    /// A list of texts; empty if it is missing.
    pub fn strings(key: []const u8) []const []const u8 {
        const s = string(key) orelse return &.{};
        return text.strings(allocator, s) catch |err| {
            if (err == error.OutOfMemory) outOfMemory();
            mistake(join(&.{ key, " must be a list of strings" }));
            return &.{};
        };
    }
    /// A whole number; null: it is missing.
    pub fn int(key: []const u8) ?i64 {
        const s = string(key) orelse return null;
        return std.fmt.parseInt(i64, s, 10) catch {
            mistake(join(&.{ key, " must be a whole number" }));
            return null;
        };
    }
    /// true or false; null: it is missing.
    pub fn boolean(key: []const u8) ?bool {
        const s = string(key) orelse return null;
        if (!eql(s, "true") and !eql(s, "false")) mistake(join(&.{ key, " must be true or false" }));
        return eql(s, "true");
    }

    fn member(key: []const u8) ?[]const u8 {
        return read(allocator, host.config, .{ key.ptr, key.len });
    }
};

/// Log levels.
pub const Level = enum(i32) {
    debug = abi.LogLevel.DEBUG,
    info = abi.LogLevel.INFO,
    warn = abi.LogLevel.WARN,
    err = abi.LogLevel.ERROR,
};

/// Writes a line to the server's log, which adds plugin, session and message.
pub fn log(level: Level, line: []const u8) void {
    _ = host.log(@intFromEnum(level), line.ptr, line.len);
}

/// Whether lines of this level are kept: making a text that nobody reads can be
/// spared.
pub fn logs(level: Level) bool {
    return @intFromEnum(level) >= host.log_level();
}

/// The time in milliseconds since 1970.
pub fn now() i64 {
    return host.now_ms();
}

/// A clock in nanoseconds that is never set, for measuring.
pub fn monotonic() i64 {
    return host.mono_ns();
}

/// Fills buf with cryptographic random octets, at most 65536.
pub fn random(buf: []u8) Error!void {
    return check(host.random(buf.ptr, buf.len));
}

/// Whether the server has a feature, one of abi.Feature, and grants it.
pub fn feature(id: i32) bool {
    return host.feature(id) == 1;
}

/// This plugin's name in the configuration.
pub fn pluginName() []const u8 {
    return octets(Field.PLUGIN);
}

/// This module with its configuration, as the log calls it.
pub fn generation() []const u8 {
    return octets(Field.GENERATION);
}

// What the operator grants.

/// The plugin's memory, which outlives sessions, restarts and new versions of
/// the plugin; needs the grant kv. 64 operations in one call, keys of 1 to 512
/// octets, values of at most 65536. Times to live are in milliseconds, 0 is for
/// ever. Each operation is atomic, among all sessions.
pub const kv = struct {
    const module = abi.kv;

    /// A value; null: it is not there. A counter is its number in decimal.
    pub fn get(key: []const u8) ?[]const u8 {
        return read(arena, module.get, .{ key.ptr, key.len });
    }
    /// Sets a value for a time.
    pub fn set(key: []const u8, value: []const u8, ttl: i64) Error!void {
        return check(put(key, value, ttl, 0));
    }
    /// As set, and returns when the value is on disk.
    pub fn setSync(key: []const u8, value: []const u8, ttl: i64) Error!void {
        return check(put(key, value, ttl, abi.KvFlag.SYNC));
    }
    /// Sets a value if there is none, and tells whether it did.
    pub fn add(key: []const u8, value: []const u8, ttl: i64) Error!bool {
        return unless(abi.Code.E_CONFLICT, put(key, value, ttl, abi.KvFlag.IF_ABSENT));
    }
    /// Sets a value if there is one, and tells whether it did.
    pub fn replace(key: []const u8, value: []const u8, ttl: i64) Error!bool {
        return unless(abi.Code.E_NOT_FOUND, put(key, value, ttl, abi.KvFlag.IF_PRESENT));
    }
    fn put(key: []const u8, value: []const u8, ttl: i64, flags: i32) i32 {
        return module.set(key.ptr, key.len, value.ptr, value.len, ttl, flags);
    }
    /// Sets a value if it is old, or, with an empty old, if there is none, and
    /// tells whether it did.
    pub fn compareAndSwap(key: []const u8, old: []const u8, value: []const u8, ttl: i64) Error!bool {
        return unless(abi.Code.E_CONFLICT, module.cas(key.ptr, key.len, old.ptr, old.len, value.ptr, value.len, ttl));
    }
    /// Deletes a value, and tells whether there was one.
    pub fn remove(key: []const u8) Error!bool {
        return unless(abi.Code.E_NOT_FOUND, module.del(key.ptr, key.len));
    }
    /// Adds delta to a counter, which does not go below 0, and returns its new
    /// value. A counter that is new lives for ttl; one that is there keeps its
    /// time.
    pub fn increment(key: []const u8, delta: i64, ttl: i64) Error!u64 {
        return checkWide(module.incr(key.ptr, key.len, delta, ttl, 0));
    }
    /// As increment, and the counter lives for ttl from now on.
    pub fn incrementRefresh(key: []const u8, delta: i64, ttl: i64) Error!u64 {
        return checkWide(module.incr(key.ptr, key.len, delta, ttl, abi.KvFlag.REFRESH));
    }
    /// Takes cost tokens from a bucket that holds burst of them, begins full, and
    /// gains per_second in a second, down to a thousandth. 0: they were taken;
    /// above: none was, and these are the milliseconds until there are enough.
    pub fn take(key: []const u8, cost: u31, burst: u31, per_second: f64) Error!u64 {
        return checkWide(module.take(key.ptr, key.len, cost, burst, @intFromFloat(per_second * 1000 + 0.5)));
    }
};

/// The value of a key in one of the operator's tables; null: it is not there.
/// Needs the grant tables.
pub fn lookup(table: []const u8, key: []const u8) ?[]const u8 {
    return read(arena, abi.table.lookup, .{ table.ptr, table.len, key.ptr, key.len });
}

/// Hands an event to the operator's sinks for its topic: 16 in one call, of at
/// most 65536 octets. Needs the grant events.
pub fn emit(topic: []const u8, data: []const u8) Error!void {
    return check(abi.event.emit(topic.ptr, topic.len, data.ptr, data.len));
}

/// One of the operator's secrets, which lasts until the hook returns. Needs the
/// grant secrets; also in init.
pub fn secret(name: []const u8) Error![]const u8 {
    return readOr(arena, host.secret, .{ name.ptr, name.len });
}

/// Counts what happened; it goes on in new versions of the plugin:
/// var seen = mta.Counter{ .name = "seen" };
pub const Counter = struct {
    /// 1 to 64 lower-case letters, digits and '_'.
    name: []const u8,
    id: i32 = abi.Code.E_NOT_FOUND,

    /// Makes the series; in init. A plugin has at most 64.
    pub fn define(m: *Counter) Error!void {
        m.id = try series(abi.Metric.COUNTER, m.name);
    }
    /// Adds n, which is not below 0.
    pub fn add(m: Counter, n: i64) void {
        _ = host.metric_add(m.id, n); // what is wrong with a sample is no reason to fail a message
    }
};

/// Is what something is now.
pub const Gauge = struct {
    /// As that of a Counter.
    name: []const u8,
    id: i32 = abi.Code.E_NOT_FOUND,

    /// Makes the series; in init.
    pub fn define(m: *Gauge) Error!void {
        m.id = try series(abi.Metric.GAUGE, m.name);
    }
    /// Sets it.
    pub fn set(m: Gauge, n: i64) void {
        _ = host.metric_add(m.id, n);
    }
};

/// Is how large things are. Its buckets are the powers of two.
pub const Histogram = struct {
    /// As that of a Counter.
    name: []const u8,
    id: i32 = abi.Code.E_NOT_FOUND,

    /// Makes the series; in init.
    pub fn define(m: *Histogram) Error!void {
        m.id = try series(abi.Metric.HISTOGRAM, m.name);
    }
    /// Counts one of the size n, which is not below 0.
    pub fn observe(m: Histogram, n: i64) void {
        _ = host.metric_add(m.id, n);
    }
};

fn series(kind: i32, name: []const u8) Error!i32 {
    const id = host.metric_def(kind, name.ptr, name.len);
    check(id) catch |err| {
        log(.err, join(&.{ "metric ", name, ": ", @errorName(err) }));
        return err;
    };
    return id;
}

/// The server's resolver, which caches; needs the grant dns. In one call 30
/// different questions may be asked. A name without such records has none, which
/// is no error; one that does not exist is error.NoSuchDomain.
pub const dns = struct {
    /// Types of records, by their numbers in the RFCs.
    pub const Type = enum(i32) {
        A = 1, // 4 octets
        NS = 2,
        CNAME = 5,
        PTR = 12,
        MX = 15, // "10 host"; "0 ." is a null MX
        TXT = 16, // the strings joined
        AAAA = 28, // 16 octets
        SRV = 33, // "priority weight port host"
        TLSA = 52, // the octets of the record (RFC 6698 2.1)
        CAA = 257, // "flags tag value"
    };

    /// Starts a question that will be asked later, at most 8 at a time.
    pub fn prefetch(t: Type, name: []const u8) Error!void {
        return check(abi.dns.prefetch(@intFromEnum(t), name.ptr, name.len));
    }
    /// The records in the form of the contract, which Type tells.
    pub fn query(t: Type, name: []const u8) Error![]const []const u8 {
        return list(t, name);
    }
    fn list(t: Type, name: []const u8) Error![][]const u8 {
        const all = try readOr(arena, abi.dns.query, .{ @intFromEnum(t), name.ptr, name.len });
        return text.records(arena, all) catch outOfMemory();
    }
    fn addresses(t: Type, host_name: []const u8) Error![]const []const u8 {
        const found = try list(t, host_name);
        for (found) |*f| f.* = address(f.*);
        return found;
    }
    /// The IPv4 addresses of a host, as texts.
    pub fn a(host_name: []const u8) Error![]const []const u8 {
        return addresses(.A, host_name);
    }
    /// The IPv6 addresses of a host, as texts.
    pub fn aaaa(host_name: []const u8) Error![]const []const u8 {
        return addresses(.AAAA, host_name);
    }
    /// The TXT records, the strings of each joined.
    pub fn txt(name: []const u8) Error![]const []const u8 {
        return list(.TXT, name);
    }
    /// The host names of a name like 1.2.0.192.in-addr.arpa.
    pub fn ptr(name: []const u8) Error![]const []const u8 {
        return list(.PTR, name);
    }

    /// A mail exchanger. A null MX has the host ".".
    pub const Exchange = struct { preference: u16, host: []const u8 };

    /// The mail exchangers of a domain, in no order.
    pub fn mx(domain: []const u8) Error![]const Exchange {
        const found = try list(.MX, domain);
        const out = arena.alloc(Exchange, found.len) catch outOfMemory();
        var n: usize = 0;
        for (found) |r| {
            const blank = std.mem.indexOfScalar(u8, r, ' ') orelse continue;
            out[n] = .{ .preference = std.fmt.parseInt(u16, r[0..blank], 10) catch continue, .host = r[blank + 1 ..] };
            n += 1;
        }
        return out[0..n];
    }
    /// Asks a DNS list, such as "zen.example", for an address, and gives the
    /// list's answer, such as "127.0.0.2"; null: it does not list it.
    /// error.Unavailable: it does not answer us.
    pub fn listed(zone: []const u8, ip: []const u8) Error!?[]const u8 {
        var answered: [4]u8 = undefined;
        const n = abi.dns.dnsbl(zone.ptr, zone.len, ip.ptr, ip.len, &answered);
        try check(n);
        return if (n == 1) address(&answered) else null;
    }
    /// How long the last answer holds, in seconds.
    pub fn ttl() u32 {
        return small(Field.DNS_TTL);
    }
    /// Whether DNSSEC proved the last answer.
    pub fn secure() bool {
        return yes(Field.DNS_AD);
    }
};

/// An address of 4 or 16 octets as a text (RFC 5952): "192.0.2.1",
/// "2001:db8::1"; "" for anything else.
pub fn address(addr: []const u8) []const u8 {
    return text.address(arena.create([40]u8) catch outOfMemory(), addr);
}

/// Requests to the places of the grant http. In one call 4 may be made, 2 of them
/// open at a time. Redirects are not followed.
///
///     const r = try mta.http.fetch(.{ .url = "https://rep.example/v1/" });
///     defer r.close();
///     if (mta.eql(try r.body(), "bad")) ...
pub const http = struct {
    /// What a request does.
    pub const Method = enum(i32) {
        GET = abi.Method.GET,
        HEAD = abi.Method.HEAD,
        POST = abi.Method.POST,
        PUT = abi.Method.PUT,
        DELETE = abi.Method.DELETE,
        PATCH = abi.Method.PATCH,
    };

    /// What of a message is sent.
    pub const Part = enum(i32) {
        message = abi.Send.MESSAGE,
        body = abi.Send.BODY,
        headers = abi.Send.HEADERS,
    };

    /// A header field.
    pub const Header = struct { name: []const u8, value: []const u8 };

    /// A request.
    pub const Request = struct {
        method: Method = .GET,
        url: []const u8,
        headers: []const Header = &.{},
        body: []const u8 = "",
        timeout: u31 = 0, // milliseconds, of the whole; 0 and more than 10000: 10000

        fn lines(r: Request) []const u8 {
            var all: []const u8 = "";
            for (r.headers) |h| all = join(&.{ all, h.name, ": ", h.value, "\n" });
            return all;
        }
    };

    /// Sends a request and does not wait for its response.
    pub fn start(r: Request) Error!Response {
        const h = r.lines();
        return response(abi.http.start(@intFromEnum(r.method), r.url.ptr, r.url.len, h.ptr, h.len, r.body.ptr, r.body.len, r.timeout));
    }
    /// Posts the message, which does not pass through the plugin; method and body
    /// of r do not count. Needs the grants headers and body for what it sends.
    pub fn startMessage(r: Request, what: Part) Error!Response {
        const h = r.lines();
        return response(abi.http.start_msg(r.url.ptr, r.url.len, h.ptr, h.len, @intFromEnum(what), r.timeout));
    }
    /// Sends a request and waits for its response.
    pub fn fetch(r: Request) Error!Response {
        const got = try start(r);
        errdefer got.close();
        _ = try got.status();
        return got;
    }
    fn response(handle: i32) Error!Response {
        try check(handle);
        return .{ .handle = handle };
    }

    /// A response, or one that is still to come. Its body is read once; close it
    /// to make another request.
    pub const Response = struct {
        handle: i32,

        /// Waits for the response and gives its status, 200 to 599.
        pub fn status(r: Response) Error!u16 {
            const n = abi.http.wait(r.handle, -1);
            try check(n);
            return @intCast(n);
        }
        /// Whether the response, or an error, is there after so many milliseconds.
        pub fn ready(r: Response, milliseconds: u31) bool {
            return abi.http.wait(r.handle, milliseconds) != abi.Code.E_TIMEOUT;
        }
        /// The value of a header field, several joined by commas; null: there is
        /// none.
        pub fn header(r: Response, name: []const u8) ?[]const u8 {
            return read(arena, abi.http.header, .{ r.handle, name.ptr, name.len });
        }
        /// Reads on in the body, of which there may be 1 MiB; nothing: the end.
        pub fn readInto(r: Response, buf: []u8) Error![]u8 {
            const n = abi.http.read(r.handle, buf.ptr, buf.len);
            try check(n);
            return buf[0..@intCast(n)];
        }
        /// The rest of the body.
        pub fn body(r: Response) Error![]const u8 {
            var all = std.ArrayListUnmanaged(u8){};
            while (true) {
                const more_octets = try r.readInto(&scratch);
                if (more_octets.len == 0) return all.items;
                all.appendSlice(arena, more_octets) catch outOfMemory();
            }
        }
        /// Ends the request. The end of the hook does it too.
        pub fn close(r: Response) void {
            _ = abi.http.close(r.handle);
        }
    };
};

/// Cryptography in the server: faster than in the plugin, and with keys that the
/// plugin does not see. It needs no grant except for keys (sign_keys) and the
/// body.
pub const crypto = struct {
    /// Algorithms.
    pub const Algorithm = enum(i32) {
        sha1 = abi.Alg.SHA1,
        sha256 = abi.Alg.SHA256,
        sha512 = abi.Alg.SHA512,
        ed25519 = abi.Alg.ED25519, // for DKIM of the SHA-256 (RFC 8463)
        rsa = abi.Alg.RSA, // PKCS #1 v1.5 of a SHA-256
        rsa_pss = abi.Alg.RSAPSS, // of a SHA-256
        ecdsa_p256 = abi.Alg.ECDSAP256, // of a SHA-256; the signature is ASN.1
    };

    /// Forms in which a body is hashed (RFC 6376 3.4).
    pub const Canonicalization = enum(i32) { raw = abi.Canon.RAW, simple = abi.Canon.SIMPLE, relaxed = abi.Canon.RELAXED };

    /// Hashes data.
    pub fn digest(a: Algorithm, data: []const u8) Error![]const u8 {
        return readOr(arena, abi.crypto.digest, .{ @intFromEnum(a), data.ptr, data.len });
    }

    /// A digest that grows. Eight may be open at a time, until final or the end of
    /// the hook.
    pub const Digest = struct {
        handle: i32,

        /// Begins a digest.
        pub fn init(a: Algorithm) Error!Digest {
            const handle = abi.crypto.digest_open(@intFromEnum(a));
            try check(handle);
            return .{ .handle = handle };
        }
        /// Hashes data.
        pub fn update(d: Digest, data: []const u8) Error!void {
            return check(abi.crypto.digest_update(d.handle, data.ptr, data.len));
        }
        /// Hashes len octets of the body from an offset on, null: all that follow.
        pub fn body(d: Digest, offset: i64, len: ?i64, form: Canonicalization) Error!void {
            return check(abi.crypto.digest_body(d.handle, offset, len orelse -1, @intFromEnum(form)));
        }
        /// The digest, which ends.
        pub fn final(d: Digest) Error![]const u8 {
            return readOr(arena, abi.crypto.digest_final, .{d.handle});
        }
    };

    /// The digest of the canonical body, of it the first limit octets, null: of
    /// all: DKIM's bh=. Needs the grant body = "read".
    pub fn bodyDigest(a: Algorithm, form: Canonicalization, limit: ?i64) Error![]const u8 {
        const d = try Digest.init(a);
        d.body(0, limit, form) catch |err| {
            _ = d.final() catch {};
            return err;
        };
        return d.final();
    }
    /// Whether a signature is good. key is a DER SubjectPublicKeyInfo, for Ed25519
    /// also the 32 octets; sum is the SHA-256, with Ed25519 what was signed.
    pub fn verify(a: Algorithm, key: []const u8, signature: []const u8, sum: []const u8) Error!bool {
        return unless(abi.Code.E_BAD_SIG, abi.crypto.verify(@intFromEnum(a), key.ptr, key.len, signature.ptr, signature.len, sum.ptr, sum.len));
    }
    /// Signs a digest with a key of the operator.
    pub fn sign(key: []const u8, a: Algorithm, sum: []const u8) Error![]const u8 {
        return readOr(arena, abi.crypto.sign, .{ key.ptr, key.len, @intFromEnum(a), sum.ptr, sum.len });
    }
    /// Makes a MAC with a key of the operator.
    pub fn hmac(key: []const u8, a: Algorithm, data: []const u8) Error![]const u8 {
        return readOr(arena, abi.crypto.hmac, .{ key.ptr, key.len, @intFromEnum(a), data.ptr, data.len });
    }
    /// Whether hash is one of the password: bcrypt, argon2id, scrypt,
    /// sha512-crypt or PBKDF2. Four may be checked in a call.
    pub fn checkPassword(hash: []const u8, password: []const u8) Error!bool {
        const n = abi.crypto.password_verify(hash.ptr, hash.len, password.ptr, password.len);
        try check(n);
        return n == 1;
    }
};
