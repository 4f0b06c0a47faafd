package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mailtest"
)

// check has nothing against the configurations that people start from, on a
// machine where the files that they name are.
func TestCheckOfTheExamples(t *testing.T) {
	dns := mailtest.ServeDNS(t, mailtest.Zone{})
	for _, file := range []string{
		"../../examples/mx/wasmta.toml", "../../examples/submission/wasmta.toml", "../../examples/relay/wasmta.toml", "../../examples/dovecot/wasmta.toml",
		"../../examples/smarthost/wasmta.toml", "packaging/wasmta.toml", "packaging/container.toml",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp("", "mta") // that of t.TempDir can be too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		body := strings.NewReplacer("/etc/wasmta", dir, "/var/lib/wasmta", dir+"/d", "/run/wasmta", dir, `["127.0.0.1:53"]            #`, `["`+dns+`"] #`).Replace(string(text))
		if !strings.Contains(body, "[dns]") {
			body += "\n[dns]\nresolvers = ['" + dns + "']\n"
		}
		for name, content := range map[string]string{"wasmta.toml": body, "secrets/provider": "secret\n"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		writePair(t, filepath.Join(dir, "tls"), "mail.example.org")
		writePair(t, filepath.Join(dir, "tls"), "relay.example.org")
		var out, said bytes.Buffer
		e := &env{ctx: t.Context(), in: os.Stdin, out: &out, err: &said, loadPlugins: loadPlugins, inspect: inspectModule}
		if code := e.run([]string{"check", "--config", filepath.Join(dir, "wasmta.toml")}); code != exOK {
			t.Errorf("%s: exit %d\n%s%s", file, code, &out, &said)
		}
	}
}

// writePair writes NAME.pem and NAME.key.
func writePair(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 2, 0), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
