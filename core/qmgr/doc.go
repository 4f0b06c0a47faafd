// Package qmgr is the queue manager: the one loop that finds what is due,
// routes it, has it delivered within limits, records the outcome and owes the
// notifications. It keeps nothing of messages on the disk: what a crash leaves
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
// # Limits of next hops
//
// A next hop is known by transport, host and port: TLS policy, HELO name, source,
// pool and credential do not make another one of it. The first of Options.Shapes
// that is for it says how many attempts there are at once, and the rate: in no
// stretch of that length is more handed over than its count. Limits are those of
// the first next hop of an attempt. Another one that a plugin gives is tried
// within the same attempt, without a slot of its own, if the first cannot be
// reached; once the first is suspended, the next one takes its place, with all
// limits.
//
// Unless its shape is fixed, a next hop begins with 5 slots, never more than its
// limit. Each success adds one, or from where it was last too many a fraction, so
// that a round of successes adds one. 421, a session that breaks off, a next hop
// that cannot be reached and the statuses 4.3.1, 4.3.2 and 4.4.5 halve them, down
// to one; what began before the last halving does not count. What is said of a
// message or recipient, such as greylisting, changes nothing.
//
// A next hop is
//
//	open        there is a slot: the next entry goes
//	full        its slots are taken
//	metered     its rate is used up: it is looked at again when the next may go
//	squeezed    it works badly, and has its share of all slots
//	suspended   entries that wait are taken in turn, without slots, and deferred
//
// It is good when its last attempts were answered, within 5 s in the mean. While
// half of all slots are taken, those that are not good get no more than parts of
// them all together: five eighths for a first contact, a half for the only attempt
// at one that is known, a quarter for one more. So the good ones have three
// eighths at the least. Where very many are dead or slow, Options.Attempts should
// be more than these are, since each takes a slot for as long as it lets us wait.
//
// # Suspensions
//
// A next hop that could not be reached three times in a row, counting only
// attempts that ended before there was a session, is suspended for 60 s, then one
// item is tried; each further failure doubles the pause up to 10 min. The result
// stage can suspend the next hop of its attempt too, for a day at most; a shape by
// its rules for replies, be it our own reply; the operator for any time; and a shape
// for ever. [Manager.ResumeHop] ends all of these but the last, and attempts what waits.
// Where attempts have a source of a pool, a rule suspends, and three failures
// suspend, that source for the next hop: others go on. If all are suspended, so
// is the next hop; so it is after three failures in a row from several sources.
//
// Items for a suspended next hop are deferred without a connection. That counts
// as an attempt of theirs in the retry schedule, and they expire as usual.
//
// # Sources
//
// The pool of an attempt is the one that the next hop names (route or plugin),
// else that of its shape, else for mail exchangers the default. A message goes
// from the same source of a pool at each attempt, as greylisting wants, be it
// after a restart: the source is a function of its id and the weights. Only while that
// one is suspended for the next hop it goes from another. A next hop that names a
// source keeps it.
//
// # Turns
//
// Attempts are limited in total and for each next hop. An item that has to wait
// does so in a line of its sender (the authenticated user, else the domain of the
// reverse-path) for its next hop, and holds neither a slot nor a plugin meanwhile:
// routing is asked again when its turn comes, so that route, attempt and result of
// one attempt are answered by one generation. At a next hop senders take turns;
// for slots of all, senders take turns and each one's next hops; an item of more
// than ten recipients costs its sender as many turns more. 1000 senders are told
// apart, the rest share places. So who has a hundred thousand items waiting
// delays others by an item, not by these.
//
// In a line the earlier goes first, and a step of priority is worth a minute. An
// item with a priority above 0 that comes to wait has its sender's turn at that
// next hop at once, but never twice without another one between. So priority
// counts, and nothing waits for ever.
//
// When all slots are taken, up to four sorters look at what came since, so that
// it waits in the right line; where only plugins know the next hop, senders take
// turns for being routed. When memory gets short, a next hop with a sixteenth of
// Options.MaxRefs waiting, and a sender with half of them, have further items put
// off, by moving the due time to when their turn is to be expected.
//
// So that an item that has to wait is not routed twice, it waits first when its
// next hop is certain (no plugin routes, and the table needs only the domain) or
// very likely (plugins have sent the last items of its domain the same way, and
// that next hop works). What plugins say in the end is what counts.
//
// # What is kept
//
// Options.State keeps over a restart what is known of next hops in trouble:
// suspensions with their reasons, failures, fewer slots than at first, and the
// rate. It is written at once when the operator suspends or resumes, within a
// minute otherwise, and at the end; whole or not at all. A damaged file is
// forgotten, and the log says so. What works is remembered in memory for 4 h.
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
