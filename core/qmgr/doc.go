// Package qmgr is the queue manager: the one loop that finds what is due,
// routes it, has it delivered within limits, records the outcome and owes the
// notifications. It keeps nothing of its own on the disk: what a crash leaves
// is what package queue says.
//
// # How an item is found
//
// A message is handed over by [Manager.Enqueue] after its commit; deferred
// items are found in the due index from a cursor, which moves forward only, so
// that a long queue is never read again from its front. At most
// Options.MaxRefs items are in memory, the rest waits on the disk. When an
// item had to be left there although it is due, the index is read once from
// its beginning as soon as there is room. The loop sleeps until something is
// due; it never polls the store.
//
// # Fairness
//
// Attempts are limited in total and for each next hop. An item whose next hop
// is busy waits in a queue of that next hop and holds neither a slot nor a
// plugin meanwhile: routing is asked again when its turn comes, so that route,
// attempt and result of one attempt are answered by one generation. Higher
// Priority goes first there. When memory gets short, a queue that grows too long
// is cut by moving the due time of the item to when its turn is to be expected.
// While more than half of all attempts are taken, a next hop that has not
// answered yet gets five at most, so that a few dozen that let us wait do not
// take them all.
//
// So that an item that has to wait is not routed twice, it waits first when its
// next hop is certain (no plugin routes, and the table needs only the domain) or
// very likely (plugins have sent the last items of its domain the same way, and
// that next hop works). What plugins say in the end is what counts.
//
// A next hop that could not be reached three times in a row, counting only
// attempts that ended before there was a session, is suspended for 60 s, then one
// item is tried; each further failure doubles the pause up to 10 min. Other
// items for it are deferred meanwhile without a connection. That counts as an
// attempt of theirs in the retry schedule. The result stage can suspend the next
// hop of its attempt too, for a day at most, whatever works there; this is not
// kept over a restart.
//
// # Outcomes
//
// One chain of plugins is acquired for each attempt. The result stage may turn
// deferred into failed and failed into deferred, never what is delivered.
// Attributes that plugins set on a recipient are stored with the item; in an
// event with one recipient that is the current one. The dsn stage may send a
// notification to somebody else, and change its text for people. Attributes of the message
// that are set at route, attempt or result are seen by the later stages of the
// same attempt and are not stored: the message is written once, at commit.
//
// A recipient expires (status 4.4.7, see package dsn) only as the result of an
// attempt, or of a failure of its next hop, that happened after the item's
// expiry time. So a clock that jumps expires nothing that was not tried, and a
// plugin that fails never expires nor bounces anything: it defers.
//
// Anything that goes wrong inside, a panic of the delivery agent included,
// leaves the item in the queue to be tried again; after an attempt that delivered
// it is held, since trying again would deliver twice. Damaged items are held, or
// left alone if they are too damaged for that, and the log says so.
//
// # The window for duplicates
//
// Between a next hop's 250 and the end of Settle a crash sends the message
// again. Settle follows the attempt at once. When the recipients of an item
// have different mailboxes on this machine, their results are settled together
// as long as that takes less than 100 ms.
package qmgr
