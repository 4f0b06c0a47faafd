package mailauth

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Disposition is what the author's domain asks for when its name is used without authentication.
type Disposition string

// The dispositions (RFC 9989, p=).
const (
	NoDisposition Disposition = "none"
	Quarantine    Disposition = "quarantine"
	Reject        Disposition = "reject"
)

// DMARC is what the author's domain says of a message. Result is one of Pass, Fail, None (it has no policy), TempError
// and PermError (there is not one author).
type DMARC struct {
	Result Result
	// Disposition is what is asked for: after a Fail, with t= taken into account; otherwise NoDisposition.
	Disposition Disposition
	Author      string // the domain in From; empty: there is not one author
	// PolicyDomain is where the record is: that of the author, his organization's or, above, a public suffix. Record
	// is it; the zero value: none.
	PolicyDomain string
	Record       Record
	Organization string // the author's organizational domain; empty: it is not known
	SPFAligned   bool   // SPF passed for a domain that is aligned
	DKIMAligned  bool   // and DKIM
	Reason       string // why there is no other result, in our words
}

// CheckDMARC evaluates DMARC (RFC 9989) over the results of SPF and DKIM. It asks for at most 8 names for the author and
// as many for each domain of theirs that may be aligned, each name once, and takes 20 s at most.
func CheckDMARC(ctx context.Context, r Resolver, h mail.Header, spf SPF, dkim []DKIM) DMARC {
	out := DMARC{Disposition: NoDisposition}
	author, err := Author(h)
	if err != nil {
		out.Result, out.Reason = PermError, err.Error()
		return out
	}
	out.Author, _ = hostName(author.Domain)
	ctx, cancel := context.WithTimeout(ctx, dmarcTime)
	defer cancel()
	e := dmarcCheck{r: r, seen: make(map[string]found)}
	if err := e.evaluate(ctx, &out, spf, dkim); err != nil {
		p := asProblem(err)
		out.Result, out.Reason = p.result, p.reason
	}
	return out
}

const dmarcTime = 20 * time.Second

// dmarcCheck is one evaluation.
type dmarcCheck struct {
	r    Resolver
	seen map[string]found // by domain
	cut  error            // why the author's walk did not come to its end
}

type found struct {
	domain string
	record Record
	ok     bool
}

func (e *dmarcCheck) evaluate(ctx context.Context, out *DMARC, spf SPF, dkim []DKIM) error {
	walk, err := e.walk(ctx, out.Author)
	if err == nil {
		out.Organization = organization(out.Author, walk)
	} else if len(walk) == 0 || walk[0].domain != out.Author {
		return err
	} else { // his own record holds, whatever is above; only who is of his organization is not known
		e.cut = err
	}
	policy, ok := discover(out.Author, out.Organization, walk)
	if !ok {
		out.Result, out.Reason = None, "the author's domain has no DMARC record"
		return nil
	}
	out.PolicyDomain, out.Record = policy.domain, policy.record
	if !policy.record.usable {
		out.Result, out.Reason = None, "the DMARC record has no policy and no address for reports"
		return nil
	}

	var doubt error // what might have passed
	if host, ok := hostName(spf.Domain); ok && (spf.Result == Pass || spf.Result == TempError) {
		aligned, err := e.aligned(ctx, out, host, policy.record.StrictSPF)
		switch {
		case err != nil:
			doubt = err
		case aligned && spf.Result == Pass:
			out.SPFAligned = true
		case aligned:
			doubt = &problem{TempError, "SPF of the author's domain has no result yet"}
		}
	}
	for _, d := range dkim[:min(len(dkim), MaxSignatures)] {
		if d.Domain == "" || d.Result != Pass && d.Result != TempError {
			continue
		}
		aligned, err := e.aligned(ctx, out, d.Domain, policy.record.StrictDKIM)
		switch {
		case err != nil:
			doubt = err
		case aligned && d.Result == Pass:
			out.DKIMAligned = true
		case aligned:
			doubt = &problem{TempError, "DKIM of the author's domain has no result yet"}
		}
	}
	switch {
	case out.SPFAligned || out.DKIMAligned:
		out.Result = Pass
		return nil
	case doubt != nil:
		return doubt
	}
	p := policy.record.Policy
	if policy.domain != out.Author {
		p = policy.record.Subdomain
		if policy.record.NonExistent != p {
			_, exists, err := lookup(ctx, e.r, out.Author, typeA)
			if err != nil {
				return temporary(err)
			}
			if !exists {
				p = policy.record.NonExistent
			}
		}
	}
	if policy.record.Testing {
		switch p {
		case Reject:
			p = Quarantine
		case Quarantine:
			p = NoDisposition
		}
	}
	out.Result, out.Disposition, out.Reason = Fail, p, "neither SPF nor DKIM passed for the author's domain"
	return nil
}

// aligned tells whether a domain that authenticated is the author's, or relaxed, of his organization.
func (e *dmarcCheck) aligned(ctx context.Context, out *DMARC, domain string, strict bool) (bool, error) {
	if domain == out.Author {
		return true, nil
	}
	if strict {
		return false, nil
	}
	if e.cut != nil {
		if topDomain(domain) == topDomain(out.Author) {
			return false, e.cut
		}
		return false, nil
	}
	// Only a domain below the author's organization, or that itself, can be of it.
	if !under(domain, out.Organization) {
		return false, nil
	}
	walk, err := e.walk(ctx, domain)
	if err != nil {
		return false, err
	}
	return organization(domain, walk) == out.Organization, nil
}

// maxWalk is how many labels a name has at most, after the first, in a tree walk, and so bounds its look-ups at 8.
const maxWalk = 7

// walk is the DNS tree walk from domain up (RFC 9989, section 4.10): the records on the way, from the longest name to
// the shortest. With an error they are those up to it.
func (e *dmarcCheck) walk(ctx context.Context, domain string) ([]found, error) {
	var out []found
	name := domain
	for {
		f, err := e.fetch(ctx, name)
		if err != nil {
			return out, err
		}
		if f.ok {
			out = append(out, f)
			if f.record.PSD != 'u' {
				return out, nil
			}
		}
		_, parent, more := strings.Cut(name, ".")
		if !more {
			return out, nil
		}
		for strings.Count(parent, ".") >= maxWalk {
			_, parent, _ = strings.Cut(parent, ".")
		}
		name = parent
	}
}

// fetch returns the record of one name, if it has exactly one.
func (e *dmarcCheck) fetch(ctx context.Context, domain string) (found, error) {
	if f, ok := e.seen[domain]; ok {
		return f, nil
	}
	f := found{domain: domain}
	name := "_dmarc." + domain
	if validName(name) {
		data, _, err := lookup(ctx, e.r, name, typeTXT)
		if err != nil {
			return f, temporary(err)
		}
		n := 0
		for _, txt := range data {
			if rec, ok := ParseRecord(string(txt)); ok {
				f.record, f.ok = rec, true
				n++
			}
		}
		if n > 1 {
			f = found{domain: domain}
		}
	}
	e.seen[domain] = f
	return f, nil
}

// organization is the organizational domain of domain, by the records of its walk (RFC 9989, section 4.10.2).
func organization(domain string, walk []found) string {
	org := domain
	for _, f := range walk {
		switch {
		case f.record.PSD == 'n':
			return f.domain
		case f.record.PSD == 'y' && f.domain != domain:
			return below(domain, f.domain)
		}
		org = f.domain
	}
	return org
}

func topDomain(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }

// below is the part of domain one label below zone, in which it lies.
func below(domain, zone string) string {
	labels := strings.TrimSuffix(domain, "."+zone)
	return labels[strings.LastIndexByte(labels, '.')+1:] + "." + zone
}

// discover picks the record that holds (RFC 9989, section 4.10.1): the author's, his organization's, or that of the
// public suffix above.
func discover(author, org string, walk []found) (found, bool) {
	for _, f := range walk {
		if f.domain == author || f.domain == org || f.record.PSD == 'y' {
			return f, true
		}
	}
	return found{}, false
}

// Record is a DMARC policy record (RFC 9989, section 4.7). The tags that it does not have have their defaults.
type Record struct {
	Policy      Disposition // p=
	Subdomain   Disposition // sp=
	NonExistent Disposition // np=
	StrictDKIM  bool        // adkim=s
	StrictSPF   bool        // aspf=s
	Testing     bool        // t=y
	PSD         byte        // psd=: 'y', 'n' or 'u'
	Aggregate   []string    // rua=, URIs with a scheme, as published; at most 10
	Failure     []string    // ruf=
	usable      bool        // it has a policy, or somebody who wants reports
}

const maxReportURIs = 10

// ParseRecord reads a policy record. ok is false for text that is none. A tag that is unknown or has an unknown value is
// ignored; without a valid policy, or with an invalid one for subdomains, the record stands for p=none if somebody wants
// reports, and otherwise for nothing.
func ParseRecord(txt string) (rec Record, ok bool) {
	if len(txt) > maxField {
		return Record{}, false
	}
	first, _, _ := strings.Cut(txt, ";")
	name, version, _ := strings.Cut(first, "=")
	if !strings.EqualFold(trimFWS(name), "v") || trimFWS(version) != "DMARC1" {
		return Record{}, false
	}
	tags := lenientTags(txt)
	rec = Record{PSD: 'u', Aggregate: reportURIs(tags["rua"]), Failure: reportURIs(tags["ruf"])}
	rec.StrictDKIM = strings.EqualFold(tags["adkim"], "s")
	rec.StrictSPF = strings.EqualFold(tags["aspf"], "s")
	rec.Testing = strings.EqualFold(tags["t"], "y")
	switch tags["psd"] {
	case "y", "Y":
		rec.PSD = 'y'
	case "n", "N":
		rec.PSD = 'n'
	}
	valid := true
	rec.Policy = disposition(tags, "p", "", &valid)
	rec.Subdomain = disposition(tags, "sp", rec.Policy, &valid)
	rec.NonExistent = disposition(tags, "np", rec.Subdomain, &valid)
	rec.usable = valid || len(rec.Aggregate) > 0
	if !valid {
		rec.Policy, rec.Subdomain, rec.NonExistent = NoDisposition, NoDisposition, NoDisposition
	}
	return rec, true
}

// lenientTags are the tags of a record; of one that is there twice, the first. What is no tag is ignored.
func lenientTags(txt string) map[string]string {
	tags := make(map[string]string)
	for part := range strings.SplitSeq(txt, ";") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.ToLower(trimFWS(name))
		if _, twice := tags[name]; ok && !twice && tagName(name) && len(tags) < maxTags {
			tags[name] = trimFWS(value)
		}
	}
	return tags
}

func disposition(tags map[string]string, name string, def Disposition, valid *bool) Disposition {
	v, ok := tags[name]
	d := Disposition(strings.ToLower(v))
	switch {
	case ok && (d == NoDisposition || d == Quarantine || d == Reject):
		return d
	case ok || def == "":
		*valid = false
	}
	return def
}

// reportURIs are the URIs of rua= or ruf=; those without a scheme are left out, and so is the obsolete size after "!".
func reportURIs(s string) []string {
	var out []string
	for uri := range strings.SplitSeq(s, ",") {
		uri, _, _ = strings.Cut(trimFWS(uri), "!")
		scheme, rest, ok := strings.Cut(uri, ":")
		if !ok || !tagName(scheme) || rest == "" || len(out) == maxReportURIs || mail.Printable(uri) != uri || strings.ContainsAny(uri, " \"<>") {
			continue
		}
		out = append(out, uri)
	}
	return out
}

// String is the record as it would be published.
func (rec Record) String() string {
	s := fmt.Sprintf("v=DMARC1; p=%s; sp=%s; np=%s; psd=%c", rec.Policy, rec.Subdomain, rec.NonExistent, rec.PSD)
	for _, t := range []struct {
		on  bool
		tag string
	}{{rec.StrictDKIM, "adkim=s"}, {rec.StrictSPF, "aspf=s"}, {rec.Testing, "t=y"}, {rec.Aggregate != nil, "rua=" + strings.Join(rec.Aggregate, ",")}, {rec.Failure != nil, "ruf=" + strings.Join(rec.Failure, ",")}} {
		if t.on {
			s += "; " + t.tag
		}
	}
	return s
}
