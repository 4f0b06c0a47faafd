package core

import (
	"io"
	"os"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/dsn"
	"github.com/wasmta/wasmta/core/mail"
)

// LoadTemplate reads the wording of notifications from a file; nil if path is
// empty: there is none of its own.
func LoadTemplate(path string) (*dsn.Template, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, dsn.MaxTemplate+1))
	if err != nil {
		return nil, err
	}
	return dsn.ParseTemplate(text)
}

// backscatter tells whether a notification would go to somebody who perhaps never
// sent the message. Strangers are those who neither authenticated nor are of
// relay_networks. What should have been refused in their session, but was not
// known then, is what we do not want ourselves: a plugin rejects after the message
// was accepted, or a recipient of ours, or of a domain that we relay for, does not
// exist or is not allowed (RFC 3463 X.1 and X.7). What a host out there refuses,
// what expires and what does not fit a mailbox is always notified, and so are
// delays and, where asked for, success, unless strangers = "none".
func backscatter(c *config.Config) func(*mail.Client, mail.Path, mail.Result, string) bool {
	if c.Notify.Strangers == "all" {
		return nil
	}
	ours := prefixes(c.RelayNetworks)
	known := make(map[string]bool) // listeners whose clients are not strangers
	for _, l := range c.Listeners {
		known[l.Name] = l.Role != config.RoleMX
	}
	return func(client *mail.Client, to mail.Path, r mail.Result, by string) bool {
		if client.Auth != "" || known[client.Listener] || client.Listener == "" || !client.Remote.IsValid() {
			return false
		}
		from := client.Remote.Addr().Unmap().WithZone("")
		for _, n := range ours {
			if n.Contains(from) {
				return false
			}
		}
		if c.Notify.Strangers == "none" {
			return true
		}
		if r.Outcome != mail.Failed {
			return false
		}
		status := r.Reply.Status()
		return by != "" || (c.IsLocal(to.DomainKey()) || c.IsRelay(to.DomainKey())) && (status[1] == 1 || status[1] == 7)
	}
}
