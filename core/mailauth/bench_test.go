package mailauth_test

import (
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/mailauth"
)

// The cost of a body of 1 MiB for one and for ten signatures, which read it once.
func BenchmarkVerifyDKIM(b *testing.B) {
	k, z := keys()
	text := letter[:strings.Index(letter, "\n\n")+2] + strings.Repeat("Sixty octets of text that nobody reads, with its line  end\r\n", 1<<20/60)
	for name, n := range map[string]int{"1 signature": 1, "10 signatures": 10} {
		var many []mailauth.Key
		for range n {
			many = append(many, k[1])
		}
		h, body := split(b, sign(b, text, mailauth.SignOptions{}, many...))
		d := &fakeDNS{zone: z}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				got, err := mailauth.VerifyDKIM(b.Context(), d, h, strings.NewReader(body), now)
				if err != nil || got[n-1].Result != mailauth.Pass {
					b.Fatal(err, got)
				}
			}
		})
	}
}

func BenchmarkSPF(b *testing.B) {
	d := &fakeDNS{zone: zone{"example.org": {"TXT v=spf1 include:_spf.example.org ip4:198.51.100.0/24 a mx -all"}, "_spf.example.org": {"TXT v=spf1 ip4:203.0.113.0/24 ip4:192.0.2.0/24 ~all"}}}
	for b.Loop() {
		if got := spf(b, d, "a@example.org"); got.Result != mailauth.Pass {
			b.Fatal(got)
		}
	}
}
