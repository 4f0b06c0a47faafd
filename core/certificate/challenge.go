package certificate

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/acme"
)

// portError: the address for HTTP-01 cannot be had.
type portError struct{ err error }

func (e *portError) Error() string { return "HTTP-01: " + e.err.Error() }
func (e *portError) Unwrap() error { return e.err }

// answer makes a challenge's answer known, until remove is called.
func (a *authority) answer(client *acme.Client, c *acme.Challenge, name string) (remove func(), err error) {
	if c.Type == "tls-alpn-01" {
		cert, err := client.TLSALPN01ChallengeCert(c.Token, name)
		if err != nil {
			return nil, err
		}
		a.mu.Lock()
		a.tokens[name] = &cert
		a.mu.Unlock()
		return func() {
			a.mu.Lock()
			delete(a.tokens, name)
			a.mu.Unlock()
		}, nil
	}
	reply, err := client.HTTP01ChallengeResponse(c.Token)
	if err != nil {
		return nil, err
	}
	path := client.HTTP01ChallengePath(c.Token)
	l, err := a.listen()
	if err != nil {
		return nil, &portError{err}
	}
	a.mu.Lock()
	a.replies[path] = reply
	a.mu.Unlock()
	server := &http.Server{
		Handler: a, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: log.New(io.Discard, "", 0), // what strangers do there is no news
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	return func() {
		server.Close()
		<-ended
		a.mu.Lock()
		delete(a.replies, path)
		a.mu.Unlock()
	}, nil
}

// ServeHTTP answers HTTP-01 (RFC 8555 8.3) and nothing else.
func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	reply, ok := a.replies[r.URL.Path]
	a.mu.Unlock()
	if !ok || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.WriteString(w, reply)
}

// isChallenge tells whether a handshake is the authority's (RFC 8737 3).
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto})
}

// challengeConfig is for handshakes of the authority. Ordinary ones must not
// have its protocol in their list: one that offers other protocols would fail.
func (a *authority) challengeConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			if c := a.tokens[plain(hello.ServerName)]; c != nil {
				return c, nil
			}
			return nil, fmt.Errorf("no challenge is open for %q", hello.ServerName)
		},
	}
}
