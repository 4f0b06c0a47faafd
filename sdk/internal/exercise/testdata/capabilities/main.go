// Uses the capabilities as sdk/internal/exercise expects.
package main

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onconnect"
	"github.com/wasmta/wasmta/sdk/go/ondata"
	"github.com/wasmta/wasmta/sdk/go/onehlo"
	"github.com/wasmta/wasmta/sdk/go/onmail"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
)

var (
	url, hash string
	key       []byte
	seen      = mta.NewCounter("seen")
	level     = mta.NewGauge("level")
	size      = mta.NewHistogram("size")
)

func say(words ...string) { mta.Log(mta.Info, strings.Join(words, " ")) }

func yes(b bool) string     { return strconv.FormatBool(b) }
func number(n int64) string { return strconv.FormatInt(n, 10) }

// code is the number of an error; 0: there is none.
func code(err error) string {
	if c, ok := err.(abi.Code); ok {
		return number(int64(c))
	}
	return "0"
}

func init() {
	mta.OnInit(func(c *mta.Config) (err error) {
		url, hash = c.String("url"), c.String("hash")
		key, err = hex.DecodeString(c.String("key"))
		return err
	})
	onconnect.Handle(kv)
	onehlo.Handle(dns)
	onmail.Handle(http)
	ondata.Handle(others)
	onmessage.Handle(message)
}

func kv(s *mta.Session) mta.Verdict {
	kv := s.KV()
	_, ok := kv.Get("k")
	say("kv get", yes(ok))
	mta.Must(kv.Set("k", "v€", mta.Minute))
	v, _ := kv.Get("k")
	say("kv set", v)
	first, _ := kv.Add("k", "x", 0)
	second, _ := kv.Add("n", "x", mta.Minute)
	say("kv add", yes(first), yes(second))
	first, _ = kv.Replace("k", "w", 0)
	second, _ = kv.Replace("none", "w", 0)
	say("kv replace", yes(first), yes(second))
	mta.Must(kv.SetSync("sync", "1", 0))
	v, _ = kv.Get("sync")
	say("kv sync", v)
	first, _ = kv.CompareAndSwap("k", "wrong", "x", 0)
	second, _ = kv.CompareAndSwap("k", "w", "x", 0)
	third, _ := kv.CompareAndSwap("fresh", "", "y", 0)
	say("kv cas", yes(first), yes(second), yes(third))
	a, _ := kv.Incr("c", 5, mta.Second)
	b, _ := kv.Incr("c", -2, 0)
	c, _ := kv.Incr("c", -9, 0)
	say("kv incr", number(a), number(b), number(c))
	a, _ = kv.IncrRefresh("c", 1, mta.Minute)
	say("kv refresh", number(a))
	a, _ = kv.Take("b", 2, 2, 0.5)
	b, _ = kv.Take("b", 1, 2, 0.5)
	say("kv take", number(a), number(b))
	_, err := kv.Incr("k", 1, 0)
	say("kv error", code(err))
	first, _ = kv.Delete("k")
	second, _ = kv.Delete("k")
	say("kv delete", yes(first), yes(second))
	mta.Must(kv.Set("e", "", 0))
	v, ok = kv.Get("e")
	say("kv empty", yes(ok), number(int64(len(v))))
	mta.Must(kv.Set("long", strings.Repeat("x", 10000), 0))
	v, _ = kv.Get("long")
	say("kv long", number(int64(len(v))))
	return mta.Continue
}

func dns(s *mta.Session) mta.Verdict {
	d := s.DNS()
	addresses := func(t mta.RecordType) (list []string) {
		records, _ := d.Query(t, "a.example")
		for _, r := range records {
			a, _ := netip.AddrFromSlice([]byte(r))
			list = append(list, a.String())
		}
		return list
	}
	mta.Must(d.Prefetch(mta.TypeTXT, "a.example"))
	txt, _ := d.TXT("a.example")
	say("dns txt", strings.Join(txt, "|"))
	say("dns ttl", number(int64(d.TTL())), yes(d.Secure()))
	say("dns a", strings.Join(addresses(mta.TypeA), " "))
	say("dns aaaa", strings.Join(addresses(mta.TypeAAAA), " "))
	mx, _ := d.MX("a.example")
	line := "dns mx"
	for _, x := range mx {
		line += " " + number(int64(x.Preference)) + " " + x.Host
	}
	say(line)
	ptr, _ := d.Query(mta.TypePTR, "1.2.0.192.in-addr.arpa")
	say("dns ptr", strings.Join(ptr, " "))
	srv, _ := d.Query(mta.TypeSRV, "_x._tcp.a.example")
	say("dns srv", strings.Join(srv, " "))
	mx, _ = d.MX("empty.example")
	say("dns none", number(int64(len(mx))))
	_, err := d.TXT("none.example")
	say("dns nxdomain", code(err))
	_, err = d.TXT("fail.example")
	say("dns servfail", code(err))
	answer, _, _ := d.Listed("list.example", "192.0.2.1")
	say("dns listed", answer)
	_, listed, _ := d.Listed("list.example", "192.0.2.2")
	say("dns unlisted", yes(listed))
	return mta.Continue
}

func http(s *mta.Session) mta.Verdict {
	h := s.HTTP()
	status := func(r *mta.Response) string { n, _ := r.Status(); return number(int64(n)) }
	text := func(r *mta.Response) string { b, _ := r.Text(); return b }
	get, err := h.Start(mta.Request{URL: url + "echo", Header: "X-Test: one", Timeout: 5000})
	mta.Must(err)
	post, err := h.Start(mta.Request{Method: "POST", URL: url + "echo", Body: "données"})
	mta.Must(err)
	say("http get", status(get), get.Header("Content-Type"), text(get))
	say("http header", "["+get.Header("X-None")+"]")
	say("http post", status(post), text(post))
	say("http ready", yes(post.Ready(0)))
	mta.Must(get.Close())
	mta.Must(post.Close())
	_, err = get.Status()
	say("http closed", code(err))
	long, err := h.Do(mta.Request{URL: url + "long"})
	mta.Must(err)
	say("http long", number(int64(len(text(long)))))
	mta.Must(long.Close())
	_, err = h.Do(mta.Request{URL: "https://elsewhere.example/"})
	say("http denied", code(err))
	return mta.Continue
}

func others(s *mta.Session) mta.Verdict {
	v, _ := s.Lookup("users", "bob@example.org")
	say("table", v)
	v, ok := s.Lookup("users", "empty")
	say("table empty", yes(ok), number(int64(len(v))))
	_, ok = s.Lookup("users", "eve")
	say("table none", yes(ok))
	v, _ = s.Lookup("nets", "192.0.2.9")
	say("table net", v)
	say("event", code(s.Emit("seen", "d€")), code(s.Emit("bad topic", "")))
	v, _ = mta.Secret("api")
	_, err := mta.Secret("other")
	say("secret", v, code(err))
	seen.Add(1)
	seen.Add(2)
	level.Set(5)
	level.Set(-7)
	size.Observe(1)
	size.Observe(8)
	line := "feature"
	for id := abi.FeatureKV; id <= abi.FeatureEvent; id++ {
		line += " " + yes(mta.Feature(id))
	}
	say(line)
	return mta.Continue
}

func message(s *mta.Session) mta.Verdict {
	post := func(path, header string, what mta.Part) string {
		r, err := s.HTTP().StartMessage(mta.Request{URL: url + path, Header: header}, what)
		mta.Must(err)
		defer r.Close()
		n, _ := r.Status()
		b, _ := r.Text()
		return number(int64(n)) + " " + b
	}
	say("http body", post("echo", "X-Test: two", mta.OnlyBody))
	say("http message", post("length", "", mta.WholeMessage))

	c := s.Crypto()
	sum, _ := c.Digest(mta.SHA256, []byte("abc"))
	say("digest", hex.EncodeToString(sum))
	d, err := c.NewDigest(mta.SHA256)
	mta.Must(err)
	_, _ = d.Write([]byte("a"))
	_, _ = d.Write([]byte("bc"))
	same, _ := d.Sum()
	say("digest", yes(string(same) == string(sum)))
	d, err = c.NewDigest(mta.SHA256)
	mta.Must(err)
	_, _ = d.Write([]byte("x"))
	mta.Must(d.Body(0, 5, mta.Raw))
	part, _ := d.Sum()
	say("digest part", hex.EncodeToString(part))
	whole, _ := c.BodyDigest(mta.SHA256, mta.Simple, -1)
	say("digest body", hex.EncodeToString(whole))
	sig, _ := c.Sign("dkim", mta.Ed25519, sum)
	good, bad := c.Verify(mta.Ed25519, key, sig, sum), c.Verify(mta.Ed25519, key, sig, part)
	say("sign", number(int64(len(sig))), yes(good == nil), yes(bad != abi.BadSig))
	_, err = c.Sign("other", mta.Ed25519, sum)
	say("sign error", code(err))
	mac, _ := c.HMAC("mac", mta.SHA256, []byte("abc"))
	say("hmac", hex.EncodeToString(mac))
	right, _ := c.CheckPassword(hash, "secret")
	wrong, _ := c.CheckPassword(hash, "wrong")
	say("password", yes(right), yes(wrong))
	_, err = c.CheckPassword("secret", "secret")
	say("password error", code(err))

	var b mta.NewBody
	_, top := b.Write([]byte("[top]\r\n"))
	middle := b.Copy(0, 7)
	_, end := b.WriteString("[end]\r\n")
	say("body", code(top), code(middle), code(end))
	return mta.Continue
}

func main() {}
