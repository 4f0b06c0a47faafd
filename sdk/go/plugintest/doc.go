// Package plugintest plays sessions and deliveries against a plugin's handlers
// under plain go test, without WebAssembly and without a server.
//
//	func TestPolicy(t *testing.T) {
//		p := plugintest.New(t, plugintest.Options{
//			Config: `{"blocked": ["nobody"]}`,
//			Grant:  plugintest.Grant{Headers: "write"},
//		})
//		s := p.Session()
//		s.Mail("a@example.com").Want("continue")
//		s.Rcpt("nobody@example.org").Want("reject 550 5.1.1")
//		s.Rcpt("somebody@example.org").Want("continue")
//		s.Message("Subject: hi\r\n\r\ntext\r\n").Want("continue")
//		if s.Header("X-Seen") != "yes" { ... }
//	}
//
// The handlers are those that the package under test registers in its init
// functions, as in a plugin. The host that they meet keeps the server's rules:
// what exists at which hook, what needs a grant, which verdicts and codes fit,
// that changes are dropped with a verdict other than continue and accept, and
// the limits of one call. What it checks less strictly is the syntax of
// addresses.
//
// In the server each session has an instance of its own. Here the package's
// variables are shared by all sessions of a test binary, and [New] only runs
// mta1_init again: do not run tests of one plugin in parallel.
package plugintest
