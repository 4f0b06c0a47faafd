package deliver

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// Credential is who we are at a next hop that wants AUTH (RFC 4954).
type Credential struct {
	User   string
	Secret string // password, or token for XOAUTH2 and OAUTHBEARER
	// Mechanisms are those that may be used, in order of liking. Empty: SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN.
	// A token is no password, and a certificate neither: XOAUTH2, OAUTHBEARER and EXTERNAL are used where they are named.
	Mechanisms []string
}

// byPassword are the mechanisms of a credential that names none, the safest first.
var byPassword = []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"}

// external tells whether the credential is our certificate.
func (c *Credential) external() bool { return slices.Contains(c.Mechanisms, "EXTERNAL") }

// exchange is the client's side of a SASL mechanism (RFC 4422).
type exchange interface {
	// begin is the initial response; nil: the server has the first word.
	begin() ([]byte, error)
	// answer is the response to a challenge.
	answer(challenge []byte) ([]byte, error)
	// proven tells whether the server has done its part when it says that we are who we are.
	proven() bool
}

// newExchange starts a mechanism. plus tells that the server offers channel binding, s is the TLS session; nil: none.
func newExchange(mechanism string, c *Credential, host string, port uint16, s *tls.ConnectionState, plus bool) (exchange, error) {
	if strings.ContainsRune(c.User, 0) || strings.ContainsRune(c.Secret, 0) {
		return nil, errors.New("the user or the secret has a NUL")
	}
	if c.Secret == "" && mechanism != "EXTERNAL" {
		return nil, errors.New("the secret is empty")
	}
	switch mechanism {
	case "PLAIN": // RFC 4616
		return &spoken{first: "\x00" + c.User + "\x00" + c.Secret}, nil
	case "LOGIN": // draft-murchison-sasl-login: the server asks for the name, then the password, in words of its own
		return &spoken{silent: true, more: []string{c.User, c.Secret}}, nil
	case "XOAUTH2": // Google's; a challenge tells why it failed, and wants an empty response
		return &spoken{first: "user=" + c.User + "\x01auth=Bearer " + c.Secret + "\x01\x01", more: []string{""}}, nil
	case "OAUTHBEARER": // RFC 7628 3.1; 3.2.3 for the response to a failure
		name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(c.User)
		return &spoken{first: "n,a=" + name + ",\x01host=" + host + "\x01port=" + strconv.Itoa(int(port)) + "\x01auth=Bearer " + c.Secret + "\x01\x01", more: []string{"\x01"}}, nil
	case "EXTERNAL": // RFC 4422 appendix A
		return &spoken{first: c.User, more: []string{c.User}}, nil
	case "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS": // RFC 7677
		return newSCRAM(c, s, mechanism == "SCRAM-SHA-256-PLUS", plus)
	}
	return nil, fmt.Errorf("the mechanism %q is not known", mechanism)
}

// spoken are mechanisms whose responses do not depend on the challenges.
type spoken struct {
	first  string
	silent bool     // there is no initial response
	more   []string // responses to challenges
}

func (e *spoken) begin() ([]byte, error) {
	if e.silent {
		return nil, nil
	}
	return []byte(e.first), nil
}

func (e *spoken) answer([]byte) ([]byte, error) {
	if len(e.more) == 0 {
		return nil, errors.New("the server asks for more than the mechanism has")
	}
	r := e.more[0]
	e.more = e.more[1:]
	return []byte(r), nil
}

func (e *spoken) proven() bool { return true }

// maxIterations bounds what a server can make us compute: about half a second.
const maxIterations = 1 << 20

// scramExchange is SCRAM (RFC 5802), with the server's proof that it knows the password.
type scramExchange struct {
	conv  *scram.ClientConversation
	steps int
}

func newSCRAM(c *Credential, s *tls.ConnectionState, bound, plus bool) (exchange, error) {
	client, err := scram.SHA256.NewClient(c.User, c.Secret, "")
	if err != nil {
		return nil, errors.New("the user or the secret has characters that SCRAM forbids (RFC 4013)")
	}
	switch {
	case bound:
		b, err := binding(s)
		if err != nil {
			return nil, err
		}
		return &scramExchange{conv: client.NewConversationWithChannelBinding(b)}, nil
	case s != nil && !plus: // a server that did offer it sees that somebody took it away
		return &scramExchange{conv: client.NewConversationAdvertisingChannelBinding()}, nil
	}
	return &scramExchange{conv: client.NewConversation()}, nil
}

// binding is what ties an exchange to its TLS session: tls-exporter with TLS 1.3 (RFC 9266), tls-unique before (RFC 5929),
// and where an old session has neither, the server's certificate.
func binding(s *tls.ConnectionState) (scram.ChannelBinding, error) {
	switch {
	case s == nil:
		return scram.ChannelBinding{}, errors.New("there is no TLS session to bind to")
	case s.Version >= tls.VersionTLS13:
		return scram.NewTLSExporterBinding(s)
	case len(s.TLSUnique) > 0:
		return scram.NewTLSUniqueBinding(s.TLSUnique), nil
	}
	return scram.NewTLSServerEndpointBinding(s)
}

func (e *scramExchange) begin() ([]byte, error) {
	e.steps++
	r, err := e.conv.Step("")
	return []byte(r), err
}

func (e *scramExchange) answer(challenge []byte) ([]byte, error) {
	if e.steps++; e.steps == 2 {
		for field := range bytes.SplitSeq(challenge, []byte(",")) {
			if n, ok := bytes.CutPrefix(field, []byte("i=")); ok {
				if i, err := strconv.Atoi(string(n)); err != nil || i > maxIterations {
					return nil, fmt.Errorf("the server wants %.20q iterations; at most %d are made", n, maxIterations)
				}
			}
		}
	}
	r, err := e.conv.Step(string(challenge))
	if err != nil { // its text may quote the server
		return nil, fmt.Errorf("SCRAM: %.200q", err)
	}
	return []byte(r), nil
}

func (e *scramExchange) proven() bool { return e.conv.Valid() }
