package config

import (
	"path/filepath"
	"strings"
)

// Sendmail is [sendmail]: mail that programs of this machine hand over by the
// sendmail command.
type Sendmail struct {
	// Maildrop is the directory that the command writes into and the server
	// reads; absolute after Load. Empty: there is none, which is written "none".
	Maildrop string `toml:"maildrop"`
	// Group may write there, as members or by a sendmail that has its group set;
	// empty: everybody may.
	Group string `toml:"group"`
	// Listener is what plugins, routes and the log take this mail to have come
	// by: that of a [[listener]], or a name of its own.
	Listener string `toml:"listener"`
}

func (c *Config) resolveSendmail(abs func(*string)) {
	m := &c.Sendmail
	def(&m.Listener, "local")
	switch m.Maildrop {
	case "none":
		m.Maildrop = ""
		return
	case "":
		m.Maildrop = "{data_dir}/maildrop"
	}
	m.Maildrop = strings.ReplaceAll(m.Maildrop, "{data_dir}", c.DataDir)
	abs(&m.Maildrop)
	m.Maildrop = filepath.Clean(m.Maildrop)
}

func (c *Config) checkSendmail(p *checker) {
	if l := c.Sendmail.Listener; len(l) > 64 || strings.ContainsFunc(l, notName) {
		p.fault("sendmail.listener", "the name %q must be of letters, digits, '-' and '_', at most 64", l)
	}
	if strings.ContainsAny(c.Sendmail.Group, ":\n\x00") {
		p.fault("sendmail.group", "%q is no name of a group", c.Sendmail.Group)
	}
	if d := c.Sendmail.Maildrop; d != "" && (d == c.DataDir || d == "/") {
		p.fault("sendmail.maildrop", "the maildrop needs a directory of its own, not %s", d)
	}
}
