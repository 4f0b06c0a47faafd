package tlsrpt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	spread    = 4 * time.Hour // after midnight, in which reports are sent
	roundTime = time.Hour     // between two tries
	tryTime   = 24 * time.Hour
	sendTime  = time.Minute // for one report
)

// Sender sends the reports of a Store. All fields but HTTP and Absent are required.
type Sender struct {
	Store *Store
	// TXT looks up the records at _smtp._tls.DOMAIN; Absent tells that an error means that there are none.
	TXT    func(ctx context.Context, name string) ([]string, error)
	Absent func(error) bool
	// Mail puts a message with a null reverse-path into the queue. What it has taken will not be given to it again.
	Mail func(ctx context.Context, m Message) error
	// HTTP posts reports; nil: addresses with https get none.
	HTTP http.RoundTripper

	Host         string    // our name, in Message-ID
	From         mail.Path // its domain is the submitter
	Organization string
	Contact      string
	Log          *slog.Logger
}

// Run saves what was counted, and with send reports the days that are over, until ctx ends.
func (s *Sender) Run(ctx context.Context, send bool) {
	save := time.NewTicker(SaveTime)
	defer save.Stop()
	var next time.Time
	for {
		if now := time.Now(); send && !now.Before(next) {
			next = now.Add(roundTime)
			s.Round(ctx)
		}
		select {
		case <-ctx.Done():
			s.save()
			return
		case <-save.C:
			s.save()
		}
	}
}

func (s *Sender) save() {
	if err := s.Store.Save(); err != nil {
		s.Log.Error("what was counted for TLS reports does not outlive a restart", "error", err)
	}
}

// Round reports what is due: the days that are over, each from its own time after midnight on.
func (s *Sender) Round(ctx context.Context) {
	now := time.Now()
	saved := now
	for _, key := range s.Store.past(now) {
		begin, err := time.Parse(time.DateOnly, key)
		if err != nil {
			continue
		}
		over := begin.Add(24 * time.Hour)
		if now.Before(over.Add(s.jitter(key))) {
			continue
		}
		last := now.After(over.Add(spread + tryTime))
		for _, name := range s.Store.open(key) {
			if ctx.Err() != nil {
				return
			}
			if s.one(ctx, key, name) || last {
				s.Store.mark(key, name, "")
			}
			if time.Since(saved) >= SaveTime { // many domains that are slow take hours
				saved = time.Now()
				s.save()
			}
		}
	}
	s.save()
}

// jitter is the time after midnight from which a day is reported: not all servers shall do it at the same time (RFC 8460
// 4.1), and a restart does not change it.
func (s *Sender) jitter(key string) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(s.Host + " " + key))
	return time.Duration(h.Sum64() % uint64(spread))
}

// one sends the report of a domain; done: nothing is left to be done.
func (s *Sender) one(ctx context.Context, key, name string) (done bool) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	records, err := s.TXT(ctx, "_smtp._tls."+name)
	if err != nil {
		return s.Absent != nil && s.Absent(err)
	}
	to, ok := ParseRecord(records)
	if !ok {
		return true
	}
	r, ok := s.Store.report(key, name, reportID(key, name, s.Host), s.Organization, s.Contact)
	if !ok {
		return true
	}
	done = true
	for _, a := range to {
		if s.Store.has(key, name, a.String()) {
			continue
		}
		if a.URL != "" {
			err = s.post(ctx, a.URL, r)
		} else {
			var m Message
			if m, err = r.message(s.From, a.Mail, name, s.Host, time.Now()); err == nil {
				err = s.Mail(ctx, m)
			}
		}
		if err != nil {
			s.Log.Warn("a TLS report is not sent", "domain", name, "day", key, "to", a.String(), "error", err)
			done = false
			continue
		}
		s.Log.Info("TLS report", "domain", name, "day", key, "to", a.String())
		s.Store.mark(key, name, a.String())
	}
	return done
}

// post sends a report to a web server (RFC 8460 5.4).
func (s *Sender) post(ctx context.Context, url string, r report) error {
	if s.HTTP == nil {
		return errors.New("reports are not posted")
	}
	b, err := r.compressed()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	req.Header.Set("User-Agent", "wasmta")
	client := &http.Client{Transport: s.HTTP, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the server answered %d; redirects are not followed", resp.StatusCode)
	}
	return nil
}
