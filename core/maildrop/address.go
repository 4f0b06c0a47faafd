package maildrop

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// maxNesting is how deep comments may be in comments.
const maxNesting = 20

// Addresses reads an address-list as it stands in To, Cc and Bcc (RFC 5322 3.4,
// with the obsolete forms of 4.4; RFC 6532): the addresses in their order, those
// in groups too. Display names, comments and source routes are left out. An
// address without a domain gets origin. limit is how many there may be.
func Addresses(field, origin string, limit int) ([]mail.Path, error) {
	p := parser{rest: field, origin: origin, limit: limit}
	group := false
	var words []token
	for {
		t, err := p.next()
		if err != nil {
			return nil, err
		}
		switch t.kind {
		case 0, ',':
			if err := p.add(words); err != nil {
				return nil, err
			}
			words = nil
			if t.kind == 0 && group {
				return nil, errors.New("a group does not end with ';'")
			} else if t.kind == 0 {
				return p.list, nil
			}
		case ':':
			if group || len(words) == 0 {
				return nil, errors.New("a ':' that begins no group")
			}
			group, words = true, nil
		case ';':
			if !group {
				return nil, errors.New("a ';' that ends no group")
			}
			if err := p.add(words); err != nil {
				return nil, err
			}
			group, words = false, nil
		case '<':
			if err := p.angle(); err != nil {
				return nil, err
			}
			words = nil
			if p.skip(); p.rest != "" && strings.IndexByte(",;", p.rest[0]) < 0 {
				return nil, errors.New("a '>' is followed by something other than ','")
			}
		case '>', ')', ']':
			return nil, fmt.Errorf("a %q that nothing begins", t.kind)
		default:
			words = append(words, t)
		}
	}
}

// token is an atom 'a', a quoted string '"' without its quotes, a domain literal
// '[', or one of the specials; 0 is the end.
type token struct {
	kind byte
	text string
}

type parser struct {
	rest, origin string
	limit        int
	list         []mail.Path
	err          error
}

// skip leaves out blanks, line ends and comments.
func (p *parser) skip() {
	for p.rest != "" && p.err == nil {
		switch p.rest[0] {
		case ' ', '\t', '\r', '\n':
			p.rest = p.rest[1:]
		case '(':
			p.comment()
		default:
			return
		}
	}
}

func (p *parser) comment() {
	depth := 0
	for i := 0; i < len(p.rest); i++ {
		switch p.rest[i] {
		case '\\':
			i++
		case '(':
			if depth++; depth > maxNesting {
				p.err = errors.New("comments are nested too deeply")
				return
			}
		case ')':
			if depth--; depth == 0 {
				p.rest = p.rest[i+1:]
				return
			}
		}
	}
	p.err = errors.New("a comment does not end")
}

func (p *parser) next() (token, error) {
	p.skip()
	if p.err != nil || p.rest == "" {
		return token{}, p.err
	}
	switch c := p.rest[0]; c {
	case '"':
		var b strings.Builder
		for i := 1; i < len(p.rest); i++ {
			switch c := p.rest[i]; {
			case c == '"':
				p.rest = p.rest[i+1:]
				return token{'"', b.String()}, nil
			case c == '\\' && i+1 < len(p.rest):
				i++
				b.WriteByte(p.rest[i])
			case c != '\r' && c != '\n': // of folding
				b.WriteByte(c)
			}
		}
		return token{}, errors.New("a quoted string does not end")
	case '[':
		end := strings.IndexByte(p.rest, ']')
		if end < 0 {
			return token{}, errors.New("a domain literal does not end")
		}
		t := token{'[', p.rest[:end+1]}
		p.rest = p.rest[end+1:]
		return t, nil
	case ',', ':', ';', '<', '>', ')', ']', '@', '.':
		p.rest = p.rest[1:]
		return token{kind: c}, nil
	case '\\':
		return token{}, errors.New("a '\\' outside of quotes")
	}
	end := strings.IndexAny(p.rest, " \t\r\n()<>[]:;@\\,.\"")
	if end < 0 {
		end = len(p.rest)
	}
	t := token{'a', p.rest[:end]}
	p.rest = p.rest[end:]
	return t, nil
}

// angle reads what stands in angle brackets.
func (p *parser) angle() error {
	var words []token
	for {
		t, err := p.next()
		switch {
		case err != nil:
			return err
		case t.kind == 0:
			return errors.New("a '<' without '>'")
		case t.kind == '>' && len(words) == 0:
			return errors.New("an address is empty")
		case t.kind == '>':
			return p.add(words)
		case t.kind == ':' && len(words) > 0 && words[0].kind == '@':
			words = nil // a source route
		case t.kind == ',' && len(words) > 0 && words[0].kind == '@':
			words = append(words, token{kind: '@'})
		case strings.IndexByte("<:;,)", t.kind) >= 0:
			return fmt.Errorf("a %q within angle brackets", t.kind)
		default:
			words = append(words, t)
		}
	}
}

// add takes an addr-spec; no tokens are none.
func (p *parser) add(words []token) error {
	if len(words) == 0 {
		return nil
	}
	if len(p.list) >= p.limit {
		return fmt.Errorf("there are more than %d addresses", p.limit)
	}
	local, domain := words, []token(nil)
	for i, w := range words {
		if w.kind == '@' {
			local, domain = words[:i], words[i+1:]
			break
		}
	}
	name, err := join(local, '"')
	if err != nil {
		return err
	}
	host := p.origin
	if len(local) < len(words) {
		if host, err = join(domain, '['); err != nil {
			return err
		}
	}
	path, err := mail.ParseMailbox(name + "@" + host)
	if err != nil || strings.ContainsAny(name, `"\`) { // only quoted strings have those
		path, err = mail.ParseMailbox(quote(name) + "@" + host)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name+"@"+host, err)
	}
	p.list = append(p.list, path)
	return nil
}

// join puts words and the dots between them together; also is the kind that
// they may have besides atoms.
func join(words []token, also byte) (string, error) {
	var b strings.Builder
	for i, w := range words {
		word := w.kind == 'a' || w.kind == also
		if (i%2 == 0) != word || !word && w.kind != '.' {
			return "", errors.New("words that are no address: put the address in angle brackets")
		}
		if b.WriteString(w.text); w.kind == '.' {
			b.WriteByte('.')
		}
	}
	if len(words)%2 == 0 {
		return "", errors.New("part of an address is empty")
	}
	return b.String(), nil
}

// quote makes a quoted string of a local part.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
