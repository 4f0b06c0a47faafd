// Package event reports what happened: the mail log now, counters beside it.
// A report never decides and never fails its caller; core/hook is where the
// server asks.
//
// [Log] has one method for each event of a message's life, so that every part
// of the server tells the same thing in the same words. The lines carry
// Postfix's key names and begin with the queue id, so that the tools which
// read a Postfix log, and people's grep, keep working:
//
//	wasmta/smtpd[pid]: ID: client=host[addr]:port, helo=...
//	wasmta/qmgr[pid]: ID: from=<a@b>, size=4321, nrcpt=2 (queue active)
//	wasmta/smtp[pid]: ID: to=<c@d>, relay=mx.d[192.0.2.1]:25, delay=1.1, delays=..., dsn=2.0.0, status=sent (250 ...)
//	wasmta/smtpd[pid]: NOQUEUE: reject: RCPT from host[addr]: 550 5.7.1 ...; from=<a> to=<x> proto=ESMTP helo=<h>
//
// [NewLineHandler] prints these lines; any other slog.Handler, such as
// slog.NewJSONHandler, gets the same events as attributes with the same keys.
package event
