// Package harness plays scripted sessions to a plugin in the real engine: with
// its meter, its limits and the host functions of package hostapi, but with a
// DNS, an HTTP, a memory, a clock and random octets that a scenario gives. It is
// behind "wasmta plugin test" and "wasmta plugin fuzz".
//
// A scenario is a TOML file. The same scenario gives the same verdicts on every
// machine, unless the plugin comes near its limit of CPU time. A key that is
// not known here is an error with file and line.
//
//	title = "spam.example takes no mail"
//	name = "plugin"                     # as [[plugin]] name; default "plugin"
//	on_error = "tempfail"               # as [[plugin]] on_error
//	clock = 2026-01-01T00:00:00Z        # when the scenario begins; the default
//	seed = 1                            # of the random octets
//
//	[config]                            # as [plugin.config]
//	[grant]                             # as [plugin.grant]
//	[limits]                            # as [plugin.limits]: memory_mb, cpu_ms, wall_ms
//
//	[secrets]
//	api_key = "s3cret"
//	[keys]                              # PEM of a private key, or the text of a secret
//	mac = "k"
//	[kv]                                # what the plugin's memory holds at first
//	greeted = "yes"
//	count = 3                           # a counter
//	[tables.networks]
//	type = "cidr"                       # exact, domain or cidr
//	rows = { "192.0.2.0/24" = "ours" }
//
//	[[dns]]                             # a name without any entry does not exist
//	name = "example.org"
//	type = "MX"                         # A AAAA MX TXT PTR NS CNAME SRV TLSA CAA
//	records = ["10 mx.example.org"]     # as mta1_dns gives them; TLSA in hex
//	ttl = "5m"
//	secure = true                       # DNSSEC proved it
//	error = ""                          # nxdomain, servfail, bogus or timeout instead
//
//	[[http]]                            # the first that fits answers; without one the step fails
//	method = "GET"
//	url = "https://rep.example/v1/192.0.2.1"
//	status = 200
//	headers = { "Content-Type" = "application/json" }
//	body = "{}"
//	error = ""                          # timeout or unavailable instead
//
// What happens is a list of steps. Each has a word of its own in do, facts, and
// what is expected of it:
//
//	[[step]]
//	do = "rcpt"
//	to = "ann@spam.example"
//	want = { action = "reject", code = 550, enhanced = "5.7.1", text = "no mail for spam.example" }
//
//	do        facts (with their defaults)
//	connect   ip (192.0.2.1) port local_ip local_port ptr listener (mx) auth
//	tls       version (1.3) cipher sni fingerprint, and names of a certificate that was verified, such as ["email:ann@example.org"]
//	ehlo      name (client.example) verb (EHLO)
//	auth      auth, the name that the client gives; password, or token; authzid mechanism (PLAIN; EXTERNAL without a password).
//	          It counts for the session if the plugin accepts, and by SCRAM-SHA-256 if the password is that of its keys
//	command   verb arg
//	mail      from (empty: the null reverse-path) params, such as "SIZE=100 SMTPUTF8"
//	rcpt      to params, such as "NOTIFY=NEVER"
//	data      asks the hook data alone; without it message does
//	message   content, file (beside the scenario) or base64: asks data, headers and message
//	reset     as by RSET
//	close     reason (QUIT): the session ends; quit is the same
//	route     domain recipients: the queue wants a next hop for the message taken last
//	attempt   next_hops, such as ["smtp:mx.example.org"]
//	result    reply, such as "451 4.2.0 Busy", and host, the next hop that said it
//	dsn       a notification is about to be made of the last result
//	tick      the timer, in an instance of its own
//	wait      for, such as "5m": the clock goes on
//	attr      scope, key ("plugin/key") and value: what another plugin has left
//
// A session begins with connect; what comes without one finds a connection for
// which nobody was asked. A recipient stays unless the verdict refuses it: the
// server's rules about relaying are not played. route, attempt, result and dsn
// may have from, to (a list), content, domain and listener of their own, for a
// message that was never received; each route begins a delivery.
//
// want has, each optional:
//
//	action       continue, accept, reject, defer, discard, hold, drop; failed: the plugin failed; none: it was not asked
//	hook         that gave the verdict, where a step asks several
//	code, enhanced, text    of the reply, the default one included
//	fault        of a failure: trap exit recursion cpu deadline limit memory verdict
//	header       the whole header section; LF stands for CR LF
//	fields       values of header fields by name
//	absent       header fields that must not be there
//	from         the reverse-path
//	auth         who the client is from then on; empty: nobody
//	recipients   the forward-paths
//	next_hops    as in the configuration's to
//	retry        time from now to the next attempt
//	priority     of the queue entry
//	banner       extensions       size_limit
//	attrs        of this plugin: { session = { key = "value" } }; session, transaction, message, recipient
//	log          texts that lines of this step must hold, one line each; []: no line
//	kv           what the memory holds afterwards; kv_absent: keys that it must not hold
//	http         the requests of the step: "GET https://...", with a body behind it or not
//	events       emitted in the step: "topic data"
//
// A step whose plugin fails without being expected to is a failure of the test.
package harness
