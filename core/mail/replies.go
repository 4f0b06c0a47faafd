package mail

// The replies that the server gives on its own account, in one place, so that
// an operator can find what a client saw. Each call makes a new value: a reply
// may be edited by who receives it.

func ReplyInternal() *Reply {
	return NewReply(451, "4.3.0", "Local error in processing, try again later")
}

func ReplyStorage() *Reply {
	return NewReply(452, "4.3.1", "Insufficient system storage, try again later")
}

func ReplyRelayDenied() *Reply {
	return NewReply(550, "5.7.1", "Relaying denied: no rule accepts this recipient")
}

func ReplyTooBig() *Reply {
	return NewReply(552, "5.3.4", "Message is larger than this server takes")
}

func ReplyPolicyUnavailable() *Reply {
	return NewReply(451, "4.7.1", "Policy is not available, try again later")
}

func ReplyRejected() *Reply { return NewReply(550, "5.7.1", "Rejected by policy") }

func ReplyDeferred() *Reply { return NewReply(451, "4.7.1", "Deferred by policy, try again later") }

func ReplyDropped() *Reply { return NewReply(421, "4.7.0", "Closing connection") }

func ReplyLoop() *Reply {
	return NewReply(554, "5.4.6", "Too many hops: this message is in a mail loop")
}

func ReplyShutdown() *Reply {
	return NewReply(421, "4.3.2", "Service is shutting down, try again later")
}
