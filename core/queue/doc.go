// Package queue is the durable queue: messages and their queue items, the
// states they can be in, and the transitions between them. It defines [Store];
// core/queue/pebblestore is the embedded implementation. It knows nothing of
// hooks, routes or the network and never starts anything by itself: core/qmgr
// is the one that acts.
//
// # What is kept
//
// A message is its envelope without recipients, its header block and its body.
// A queue item is the group of its recipients that share a domain: the unit
// that is due, attempted, held and settled. One message has one item for each
// domain among its forward-paths.
//
// The keys of the embedded store, all big-endian so that they sort as numbers:
//
//	m id              message: reverse-path, parameters, client, attributes, header block, body size, chunk count, digest
//	c id chunk(u32)   body, in chunks of at most 256 KiB
//	e id item(u32)    queue item: recipients with their last results, due, attempts, hold, pinned route
//	d due(u64 ms) id item(u32)   due index, empty; absent while the item is held
//	n domain 00 id item(u32)     domain index, empty
//	s name            schema version, clean-shutdown mark, id watermark
//
// Every value begins with a version octet and ends with a checksum; strings
// are length-prefixed. Nothing that came from the wire is ever a line.
//
// # States and transitions
//
//	(none) --Begin--> draft --Commit--> queued --Due--> in flight --Settle--> queued, or gone
//	                    \--Abort--> (none)      \--Update: hold--> held --Update: release--> queued
//	                                             \--Remove--> gone
//
//	draft      c keys, unsynced. Not visible to anyone but its writer. Small
//	           bodies live in memory only, until Commit. A body that takes the
//	           place of another is a draft of its own; the other is aborted.
//	queued     m, e, d, n keys exist. Due finds it when its time has come.
//	in flight  the same keys: being attempted is not persisted. A crash makes
//	           it due again at its old time.
//	held       m, e, n keys, no d key. Waits for an operator or a plugin. Commit
//	           can make all items of a message held, or some.
//	gone       no keys. The last item takes the message with it.
//
// Each transition is one atomic batch; Commit, Settle, Update and Remove are
// synced before they return. A notification that a Settle owes is committed in
// the same batch: there is no instant at which the failure is recorded and the
// notification is not.
//
// # The instant a message is ours
//
// A message is ours when [Draft.Commit] returns nil, not before: the batch
// {m, e..., d..., n...} has then been synced, and with it every chunk written
// earlier, since the log is synced in order. Only after that may a 250 be
// sent, and only after that may the message be handed to the scheduler. A
// batch can be seen by readers before it is durable, so Due leaves out what is
// being committed.
//
// # What a crash leaves
//
//	before Commit's sync    perhaps c keys without an m key: removed at the next
//	                        start. The client saw no 250 and will try again.
//	after Commit's sync     a queued message. If the 250 was not received, the
//	                        client sends again: a duplicate, unavoidable (RFC 1047).
//	during an attempt       a queued message, due at its old time. If the next hop
//	                        had answered 250 and Settle was not synced, it is sent
//	                        again: the only window for a duplicate of our making.
//	after Settle's sync     the outcome, and the notification if one was owed.
//
// A value whose checksum or digest does not match is never delivered: the
// caller gets [ErrCorrupt], holds the item and says so.
package queue
