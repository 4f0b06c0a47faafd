package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// report is the whole of RFC 8460 4.4.
type report struct {
	Organization string    `json:"organization-name"`
	Range        dateRange `json:"date-range"`
	Contact      string    `json:"contact-info"`
	ID           string    `json:"report-id"`
	Policies     []section `json:"policies"`
}

type dateRange struct {
	Start string `json:"start-datetime"`
	End   string `json:"end-datetime"`
}

type section struct {
	Policy  Policy   `json:"policy"`
	Summary summary  `json:"summary"`
	Details []detail `json:"failure-details,omitempty"`
}

type summary struct {
	Good int64 `json:"total-successful-session-count"`
	Bad  int64 `json:"total-failure-session-count"`
}

// report composes that of a domain for a day; ok is false if nothing was counted.
func (s *Store) report(key, name, id, organization, contact string) (r report, ok bool) {
	begin, err := time.Parse(time.DateOnly, key)
	if err != nil {
		return r, false
	}
	r = report{Organization: organization, Contact: contact, ID: id,
		Range: dateRange{begin.Format(time.RFC3339), begin.Add(24*time.Hour - time.Second).Format(time.RFC3339)}}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.days[key]
	if d == nil || d.Domains[name] == nil {
		return r, false
	}
	for _, c := range d.Domains[name].Policies {
		r.Policies = append(r.Policies, section{c.Policy, summary{c.Good, c.Bad}, append([]detail(nil), c.Details...)})
	}
	return r, len(r.Policies) > 0
}

// compressed is the report in JSON, compressed (RFC 8460 5.1 and 5.2).
func (r report) compressed() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	e := json.NewEncoder(z)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// fileName is that of RFC 8460 5.1, without what a file name must not have.
func (r report) fileName(submitter, name string) string {
	begin, _ := time.Parse(time.RFC3339, r.Range.Start)
	end, _ := time.Parse(time.RFC3339, r.Range.End)
	return fmt.Sprintf("%s!%s!%d!%d.json.gz", submitter, name, begin.Unix(), end.Unix())
}

// Message is a report by mail (RFC 8460 5.3): header section and body.
type Message struct {
	To     mail.Path
	Header []byte
	Body   []byte
}

// message makes a message of the report. submitter is the domain of from.
func (r report) message(from, to mail.Path, name, host string, now time.Time) (Message, error) {
	content, err := r.compressed()
	if err != nil {
		return Message{}, err
	}
	submitter := from.DomainKey()
	boundary := "=_tls_" + rand.Text()
	m := Message{To: to}
	var h bytes.Buffer
	for _, f := range [][2]string{
		{"Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"From", "<" + from.String() + ">"},
		{"To", "<" + to.String() + ">"},
		{"Subject", "Report Domain: " + name + "\r\n Submitter: " + submitter + "\r\n Report-ID: <" + r.ID + ">"},
		{"Message-ID", "<" + r.ID + ">"},
		{"TLS-Report-Domain", name},
		{"TLS-Report-Submitter", submitter},
		{"TLS-Required", "No"}, // RFC 8689 3: it is about TLS that fails
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"" + boundary + "\""},
	} {
		h.WriteString(f[0] + ": " + f[1] + "\r\n")
	}
	h.WriteString("\r\n")
	m.Header = h.Bytes()

	var good, bad int64
	for _, p := range r.Policies {
		good, bad = good+p.Summary.Good, bad+p.Summary.Bad
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", boundary)
	fmt.Fprintf(&b, "This is an aggregate report of how TLS went in sessions from %s\r\nto the mail exchangers of %s\r\nbetween %s and %s (RFC 8460).\r\n\r\nSessions with TLS: %d\r\nFailures: %d\r\n\r\n",
		host, name, r.Range.Start, r.Range.End, good, bad)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n filename=\"%s\"\r\n\r\n", boundary, r.fileName(submitter, name))
	text := base64.StdEncoding.EncodeToString(content)
	for len(text) > 0 {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	m.Body = b.Bytes()
	return m, nil
}

// reportID names the report of a domain for a day: sent twice it is the same message.
func reportID(key, name, host string) string {
	return "tls." + strings.ReplaceAll(key, "-", "") + "." + name + "@" + host
}
