// Package admin is the operator's hand: the control interface of a running
// server, as HTTP/1.1 with JSON over a unix socket, and the client that the
// control commands use. It decides nothing and stores nothing: the queue is
// asked through [Queue], changed through [Operator], plugins are reached
// through [Plugins].
//
//	GET  /healthz                the process lives
//	GET  /readyz                 it takes mail: 200, or 503 with the reason
//	GET  /metrics                figures in Prometheus' text format, names with wasmta_
//	GET  /v1/queue               queue items, one JSON object per line, by id
//	GET  /v1/queue/{id}          one message: envelope, header, every attempt
//	POST /v1/queue/{act}         hold release retry reroute bounce delete
//	GET  /v1/rules               hold rules for mail to come, one JSON object per line
//	POST /v1/rules/{add,remove}  put one in force, end one
//	POST /v1/maildrop            look at once for what sendmail left there
//	GET  /v1/explain/{id}        what became of a message or session, one event per line
//	GET  /v1/hops                next hops that are in use or in trouble, one JSON object per line
//	POST /v1/hops/suspend        nothing is sent to one
//	POST /v1/hops/resume         and again it is
//	GET  /v1/plugins             one JSON object per line
//	POST /v1/plugins/load        another file for a configured plugin
//	POST /v1/plugins/reload      read modules again
//	POST /v1/plugins/rollback    an earlier generation of a plugin
//
// The query of /v1/queue is id, limit, after ("ID/ITEM" of the last item that was
// seen) and what a [Selection] has: domain, sender, recipient, hop, before, since,
// held, attempts, text, mark, listener, client.
//
// # Who may use it
//
// The socket has mode 0600: who can connect is the server's user or root. The
// TCP address is for loopback only and has no password: whoever may run a
// program on this machine may use it, so it is off by default. Against web
// pages in a browser on the same machine, requests over TCP need a Host that is
// a loopback name or address (DNS rebinding), and every POST needs the header
// [ControlHeader] and the content type application/json, which no form can
// send; there is no CORS. Requests are bounded in size and time.
//
// # Selections
//
// An act applies to a selection of queue items ([Selection]); what is given must
// all match. An item is the group of a message's recipients that share a domain,
// and is selected as a whole. An empty selection is refused: everything must be
// asked for by name. First the items are counted, then those are acted on, and no
// later ones: mail that arrives meanwhile is never swept along. Memory does not
// grow with the number of items. An act ends when the client goes away; what was
// done by then stays done. With watch in the request the answer tells how far it
// is, in one line of JSON every second.
package admin
