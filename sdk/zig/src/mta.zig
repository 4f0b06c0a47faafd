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

fn arenaAlloc(_: *anyopaque, len: usize, log2_align: u8, address: usize) ?[*]u8 {
    return first.allocator().rawAlloc(len, log2_align, address) orelse more.allocator().rawAlloc(len, log2_align, address);
}

fn arenaResize(_: *anyopaque, buf: []u8, log2_align: u8, len: usize, address: usize) bool {
    return first.ownsSlice(buf) and first.allocator().rawResize(buf, log2_align, len, address);
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
        else => error.Other,
    };
}

/// Receives what the server gives; only what is longer costs a second call. A
/// plugin is asked one thing at a time.
var scratch: [4096]u8 = undefined;

/// Calls f(args..., buf, cap). null: it gave an error.
fn read(memory: std.mem.Allocator, comptime f: anytype, args: anytype) ?[]const u8 {
    const n = @call(.auto, f, args ++ .{ @as([*]u8, &scratch), @as(usize, scratch.len) });
    if (n < 0) return null;
    const out = memory.alloc(u8, @intCast(n)) catch outOfMemory();
    if (out.len <= scratch.len) {
        @memcpy(out, scratch[0..out.len]);
    } else if (@call(.auto, f, args ++ .{ out.ptr, out.len }) != n) {
        return null;
    }
    return out;
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
        return lookup("") orelse "{}";
    }
    /// A text; of another type, its JSON. null: it is missing.
    pub fn string(key: []const u8) ?[]const u8 {
        if (key.len == 0) return null; // would be the whole
        return lookup(key);
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

    fn lookup(key: []const u8) ?[]const u8 {
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
