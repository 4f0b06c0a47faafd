package main

import (
	"net/netip"
	"strings"

	"github.com/yuin/gopher-lua"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/script/lua/scan"
	"github.com/wasmta/wasmta/sdk/go/mta"
)

// openServices opens the capabilities whose words the script has. The import
// modules of the others were taken out of this module.
func (l *interpreter) openServices(words *scan.Result) {
	s := new(mta.Session)
	for module, open := range map[string]func(*mta.Session){
		abi.ModuleKV: l.openKV, abi.ModuleDNS: l.openDNS, abi.ModuleHTTP: l.openHTTP, abi.ModuleCrypto: l.openCrypto,
		abi.ModuleTable: func(s *mta.Session) {
			l.SetGlobal("lookup", l.NewFunction(func(l *lua.LState) int {
				value, ok := s.Lookup(l.CheckString(1), l.CheckString(2))
				return found(l, value, ok)
			}))
		},
		abi.ModuleEvent: func(s *mta.Session) {
			l.SetGlobal("emit", l.NewFunction(func(l *lua.LState) int {
				return answer(l, lua.LTrue, s.Emit(l.CheckString(1), l.CheckString(2)))
			}))
		},
	} {
		if words.Uses(module) {
			open(s)
		}
	}
}

func found(l *lua.LState, value string, ok bool) int {
	if ok {
		l.Push(lua.LString(value))
	} else {
		l.Push(lua.LNil)
	}
	return 1
}

// ttl is an argument in seconds that may be left out: for ever.
func ttl(l *lua.LState, arg int) int64 { return int64(float64(l.OptNumber(arg, 0)) * 1000) }

func (l *interpreter) openKV(s *mta.Session) {
	kv := s.KV()
	l.library("kv", map[string]lua.LGFunction{
		"get": func(l *lua.LState) int {
			value, ok := kv.Get(l.CheckString(1))
			return found(l, value, ok)
		},
		"set": func(l *lua.LState) int {
			return answer(l, lua.LTrue, kv.Set(l.CheckString(1), l.CheckString(2), ttl(l, 3)))
		},
		"set_sync": func(l *lua.LState) int {
			return answer(l, lua.LTrue, kv.SetSync(l.CheckString(1), l.CheckString(2), ttl(l, 3)))
		},
		"add": func(l *lua.LState) int {
			done, err := kv.Add(l.CheckString(1), l.CheckString(2), ttl(l, 3))
			return answer(l, lua.LBool(done), err)
		},
		"replace": func(l *lua.LState) int {
			done, err := kv.Replace(l.CheckString(1), l.CheckString(2), ttl(l, 3))
			return answer(l, lua.LBool(done), err)
		},
		"swap": func(l *lua.LState) int {
			done, err := kv.CompareAndSwap(l.CheckString(1), l.OptString(2, ""), l.CheckString(3), ttl(l, 4))
			return answer(l, lua.LBool(done), err)
		},
		"delete": func(l *lua.LState) int {
			done, err := kv.Delete(l.CheckString(1))
			return answer(l, lua.LBool(done), err)
		},
		"incr": func(l *lua.LState) int {
			n, err := kv.Incr(l.CheckString(1), l.OptInt64(2, 1), ttl(l, 3))
			return answer(l, lua.LNumber(n), err)
		},
		"incr_refresh": func(l *lua.LState) int {
			n, err := kv.IncrRefresh(l.CheckString(1), l.OptInt64(2, 1), ttl(l, 3))
			return answer(l, lua.LNumber(n), err)
		},
		"take": func(l *lua.LState) int {
			wait, err := kv.Take(l.CheckString(1), l.CheckInt(2), l.CheckInt(3), float64(l.CheckNumber(4)))
			return answer(l, lua.LNumber(float64(wait)/1000), err)
		},
	})
}

// recordTypes are the types of records by name.
func recordType(l *lua.LState, arg int) mta.RecordType {
	types := map[string]mta.RecordType{
		"A": mta.TypeA, "AAAA": mta.TypeAAAA, "MX": mta.TypeMX, "TXT": mta.TypeTXT, "PTR": mta.TypePTR, "NS": mta.TypeNS,
		"CNAME": mta.TypeCNAME, "SRV": mta.TypeSRV, "TLSA": mta.TypeTLSA, "CAA": mta.TypeCAA,
	}
	t, ok := types[l.CheckString(arg)]
	if !ok {
		l.ArgError(arg, "the type of a record, such as \"MX\", is needed")
	}
	return t
}

func list(l *lua.LState, texts []string) *lua.LTable {
	t := l.NewTable()
	for _, s := range texts {
		t.Append(lua.LString(s))
	}
	return t
}

func (l *interpreter) openDNS(s *mta.Session) {
	dns := s.DNS()
	l.library("dns", map[string]lua.LGFunction{
		"query": func(l *lua.LState) int {
			t := recordType(l, 1)
			records, err := dns.Query(t, l.CheckString(2))
			for i, r := range records {
				if a, ok := netip.AddrFromSlice([]byte(r)); ok && (t == mta.TypeA || t == mta.TypeAAAA) {
					records[i] = a.String()
				}
			}
			return answer(l, list(l, records), err)
		},
		"addresses": func(l *lua.LState) int {
			addrs, err := dns.Addresses(l.CheckString(1))
			t := l.NewTable()
			for _, a := range addrs {
				t.Append(lua.LString(a.String()))
			}
			return answer(l, t, err)
		},
		"mx": func(l *lua.LState) int {
			records, err := dns.MX(l.CheckString(1))
			t := l.NewTable()
			for _, mx := range records {
				row := l.NewTable()
				row.RawSetString("preference", lua.LNumber(mx.Preference))
				row.RawSetString("host", lua.LString(mx.Host))
				t.Append(row)
			}
			return answer(l, t, err)
		},
		"txt": func(l *lua.LState) int {
			records, err := dns.TXT(l.CheckString(1))
			return answer(l, list(l, records), err)
		},
		"listed": func(l *lua.LState) int {
			code, listed, err := dns.Listed(l.CheckString(1), l.CheckString(2))
			if err == nil && !listed {
				l.Push(lua.LFalse)
				return 1
			}
			return answer(l, lua.LString(code), err)
		},
		"prefetch": func(l *lua.LState) int {
			return answer(l, lua.LTrue, dns.Prefetch(recordType(l, 1), l.CheckString(2)))
		},
		"ttl":    func(l *lua.LState) int { l.Push(lua.LNumber(dns.TTL())); return 1 },
		"secure": func(l *lua.LState) int { l.Push(lua.LBool(dns.Secure())); return 1 },
	})
}

func (l *interpreter) openHTTP(s *mta.Session) {
	h := s.HTTP()
	meta := responseMeta(l)
	response := func(l *lua.LState, r *mta.Response, err error) int {
		return answer(l, &lua.LUserData{Value: &response{Response: r}, Metatable: meta}, err)
	}
	l.library("http", map[string]lua.LGFunction{
		"request": func(l *lua.LState) int {
			r, err := h.Do(request(l, l.CheckTable(1)))
			return response(l, r, err)
		},
		"start": func(l *lua.LState) int {
			r, err := h.Start(request(l, l.CheckTable(1)))
			return response(l, r, err)
		},
		"get": func(l *lua.LState) int {
			r, err := h.Do(mta.Request{URL: l.CheckString(1)})
			return response(l, r, err)
		},
		"post": func(l *lua.LState) int {
			req := mta.Request{Method: "POST", URL: l.CheckString(1), Body: l.CheckString(2)}
			if t := l.OptString(3, ""); t != "" {
				req.Header = "Content-Type: " + t
			}
			r, err := h.Do(req)
			return response(l, r, err)
		},
		"start_message": func(l *lua.LState) int {
			t := l.CheckTable(1)
			part := mta.WholeMessage
			switch p := lua.LVAsString(t.RawGetString("part")); p {
			case "", "message":
			case "body":
				part = mta.OnlyBody
			case "headers":
				part = mta.OnlyHeaders
			default:
				l.RaiseError("part is \"message\", \"body\" or \"headers\" and not %q", p)
			}
			r, err := h.StartMessage(request(l, t), part)
			return response(l, r, err)
		},
	})
}

// request reads { method=, url=, headers={}, body=, timeout=seconds }.
func request(l *lua.LState, t *lua.LTable) mta.Request {
	r := mta.Request{
		Method: strings.ToUpper(lua.LVAsString(t.RawGetString("method"))), URL: lua.LVAsString(t.RawGetString("url")),
		Body: lua.LVAsString(t.RawGetString("body")), Timeout: int(float64(lua.LVAsNumber(t.RawGetString("timeout"))) * 1000),
	}
	if r.URL == "" {
		l.RaiseError("a request needs a url")
	}
	if fields, ok := t.RawGetString("headers").(*lua.LTable); ok {
		var lines []string
		for _, name := range sortedKeys(fields) {
			lines = append(lines, name+": "+lua.LVAsString(fields.RawGetString(name)))
		}
		r.Header = strings.Join(lines, "\n")
	}
	return r
}

// response keeps the body, which can be read once.
type response struct {
	*mta.Response
	body string
	err  error
	read bool
}

func responseMeta(l *interpreter) *lua.LTable {
	self := func(l *lua.LState) *response {
		r, ok := l.CheckUserData(1).Value.(*response)
		if !ok {
			l.ArgError(1, "a response is needed: write r:header(name), with a colon")
		}
		return r
	}
	functions := map[string]*lua.LFunction{
		"header": l.NewFunction(func(l *lua.LState) int { l.Push(text(self(l).Header(l.CheckString(2)))); return 1 }),
		"ready":  l.NewFunction(func(l *lua.LState) int { l.Push(lua.LBool(self(l).Ready(int(ttl(l, 2))))); return 1 }),
		"close":  l.NewFunction(func(l *lua.LState) int { return answer(l, lua.LTrue, self(l).Close()) }),
	}
	meta := l.NewTable()
	meta.RawSetString("__index", l.NewFunction(func(l *lua.LState) int {
		r, name := self(l), lua.LVAsString(l.Get(2))
		switch f := functions[name]; {
		case f != nil:
			l.Push(f)
			return 1
		case name == "status":
			status, err := r.Status()
			if err != nil {
				l.RaiseError("status: %s", err.Error()) // of a request that was only started
			}
			l.Push(lua.LNumber(status))
			return 1
		case name == "body":
			if !r.read {
				r.read = true
				r.body, r.err = r.Text()
			}
			must(l, "body", r.err)
			l.Push(lua.LString(r.body))
			return 1
		}
		l.RaiseError("a response has no field %q", name)
		return 0
	}))
	meta.RawSetString("__metatable", lua.LFalse)
	return meta
}

func algorithm(l *lua.LState, arg int) mta.Algorithm {
	names := map[string]mta.Algorithm{
		"sha1": mta.SHA1, "sha256": mta.SHA256, "sha512": mta.SHA512,
		"ed25519": mta.Ed25519, "rsa": mta.RSA, "rsa-pss": mta.RSAPSS, "ecdsa-p256": mta.ECDSAP256,
	}
	a, ok := names[l.CheckString(arg)]
	if !ok {
		l.ArgError(arg, "the name of an algorithm, such as \"sha256\", is needed")
	}
	return a
}

func (l *interpreter) openCrypto(s *mta.Session) {
	c := s.Crypto()
	octets := func(l *lua.LState, b []byte, err error) int { return answer(l, lua.LString(b), err) }
	l.library("crypto", map[string]lua.LGFunction{
		"digest": func(l *lua.LState) int {
			b, err := c.Digest(algorithm(l, 1), []byte(l.CheckString(2)))
			return octets(l, b, err)
		},
		"body_digest": func(l *lua.LState) int {
			form := mta.Raw
			switch l.OptString(2, "raw") {
			case "raw":
			case "simple":
				form = mta.Simple
			case "relaxed":
				form = mta.Relaxed
			default:
				l.ArgError(2, "\"raw\", \"simple\" or \"relaxed\"")
			}
			b, err := c.BodyDigest(algorithm(l, 1), form, l.OptInt64(3, -1))
			return octets(l, b, err)
		},
		"verify": func(l *lua.LState) int {
			err := c.Verify(algorithm(l, 1), []byte(l.CheckString(2)), []byte(l.CheckString(3)), []byte(l.CheckString(4)))
			if err == abi.BadSig {
				l.Push(lua.LFalse)
				return 1
			}
			return answer(l, lua.LTrue, err)
		},
		"sign": func(l *lua.LState) int {
			b, err := c.Sign(l.CheckString(1), algorithm(l, 2), []byte(l.CheckString(3)))
			return octets(l, b, err)
		},
		"hmac": func(l *lua.LState) int {
			b, err := c.HMAC(l.CheckString(1), algorithm(l, 2), []byte(l.CheckString(3)))
			return octets(l, b, err)
		},
		"check_password": func(l *lua.LState) int {
			ok, err := c.CheckPassword(l.CheckString(1), l.CheckString(2))
			return answer(l, lua.LBool(ok), err)
		},
	})
}
