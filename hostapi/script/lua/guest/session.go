package main

import (
	"slices"
	"strings"

	"github.com/yuin/gopher-lua"

	"github.com/wasmta/wasmta/sdk/go/mta"
)

// property is a fact of an object: what reading gives, and what assigning does,
// nil: nothing can be assigned.
type property struct {
	get func() lua.LValue
	set func(l *lua.LState, v lua.LValue) error
}

// text is nil where there is nothing, so that "if s.auth_id then" does what it
// says.
func text(s string) lua.LValue {
	if s == "" {
		return lua.LNil
	}
	return lua.LString(s)
}

func texts(f func() string) func() lua.LValue { return func() lua.LValue { return text(f()) } }
func number[N int | int64](f func() N) func() lua.LValue {
	return func() lua.LValue { return lua.LNumber(f()) }
}
func truth(f func() bool) func() lua.LValue { return func() lua.LValue { return lua.LBool(f()) } }

func setText(f func(string) error) func(*lua.LState, lua.LValue) error {
	return func(l *lua.LState, v lua.LValue) error {
		if v.Type() != lua.LTString && v.Type() != lua.LTNumber {
			l.RaiseError("a string is needed and not a %s", v.Type())
		}
		return f(lua.LVAsString(v))
	}
}

func setNumber(f func(int64) error) func(*lua.LState, lua.LValue) error {
	return func(l *lua.LState, v lua.LValue) error {
		n, ok := v.(lua.LNumber)
		if !ok {
			l.RaiseError("a number is needed and not a %s", v.Type())
		}
		return f(int64(n))
	}
}

// must raises the error of a change that the server refused, at the line of the
// script.
func must(l *lua.LState, what string, err error) {
	if err != nil {
		l.RaiseError("%s: %s", what, err.Error())
	}
}

func properties(s *mta.Session) map[string]property {
	lines := func(f func() string) func() lua.LValue {
		return func() lua.LValue {
			t := vm.NewTable()
			for line := range strings.SplitSeq(f(), "\n") {
				if line != "" {
					t.Append(lua.LString(line))
				}
			}
			return t
		}
	}
	verb := func() string { v, _ := s.Command(); return v }
	argument := func() string { _, a := s.Command(); return a }
	secret := func() string { p, _ := s.AuthPassword(); return p }
	lastCode := func() int { c, _ := s.LastReply(); return c }
	lastReply := func() string { _, t := s.LastReply(); return t }
	// The null reverse-path is an empty text and not nil: it is there.
	reversePath := func() lua.LValue { return lua.LString(s.ReversePath()) }

	return map[string]property{
		"remote_ip":   {get: texts(s.RemoteIP)},
		"remote_port": {get: number(s.RemotePort)},
		"local_ip":    {get: texts(s.LocalIP)},
		"local_port":  {get: number(s.LocalPort)},
		"listener":    {get: texts(s.Listener)},
		"ptr":         {get: texts(s.PTR)},
		"id":          {get: texts(s.ID)},
		"connections": {get: number(s.ConnectionsFromIP)},
		"proxy_ip":    {get: texts(s.ProxyIP)},
		"banner":      {set: setText(s.SetBanner)},

		"helo":  {get: texts(s.Helo)},
		"esmtp": {get: truth(s.ESMTP)},
		"extensions": {get: lines(s.Extensions), set: func(l *lua.LState, v lua.LValue) error {
			return s.SetExtensions(strings.Join(strings_(l, v), "\n"))
		}},
		"tls":                {get: truth(s.TLS)},
		"tls_version":        {get: number(s.TLSVersion)},
		"tls_cipher":         {get: texts(s.TLSCipher)},
		"tls_server_name":    {get: texts(s.TLSServerName)},
		"client_certificate": {get: texts(s.ClientCertificate)},
		"certificate_names":  {get: lines(func() string { return strings.Join(s.CertificateNames(), "\n") })},

		"auth_mechanism": {get: texts(s.AuthMechanism)},
		"auth_user":      {get: texts(s.AuthUser)},
		"auth_password":  {get: texts(secret)},
		"auth_id":        {get: texts(s.AuthID), set: setText(s.SetAuthID)},
		"auth_scram":     {set: setText(s.SetScram)},

		"verb":     {get: texts(verb)},
		"argument": {get: texts(argument)},
		"reason":   {get: texts(s.Reason)},

		"transaction_id": {get: texts(s.TransactionID)},
		"mail_from":      {get: reversePath, set: setText(s.SetReversePath)},
		"declared_size":  {get: number(s.DeclaredSize)},
		"body_type":      {get: number(s.BodyType)},
		"smtputf8":       {get: truth(s.SMTPUTF8)},
		"requiretls":     {get: truth(s.RequireTLS)},
		"envelope_id":    {get: texts(s.EnvelopeID)},
		"size_limit":     {get: number(s.SizeLimit), set: setNumber(s.SetSizeLimit)},
		"rcpt":           {get: func() lua.LValue { return vm.recipient(s.Recipient()) }},
		"recipients":     {get: func() lua.LValue { return vm.recipients(s) }},

		"message_size":   {get: number(s.MessageSize)},
		"message_id":     {get: texts(s.MessageID)},
		"received_count": {get: number(s.ReceivedCount)},
		"headers":        {get: func() lua.LValue { return vm.headers }},
		"body":           {get: func() lua.LValue { return vm.body }},

		"queue_id":   {get: texts(s.QueueID)},
		"domain":     {get: texts(s.Domain)},
		"attempt":    {get: number(s.Attempt)},
		"queued":     {get: number(s.Queued)},
		"last_code":  {get: number(lastCode)},
		"last_reply": {get: texts(lastReply)},
		"last_mx":    {get: texts(s.LastMX)},
		"next_hop":   {get: texts(s.NextHop), set: setText(s.SetNextHop)},
		"tls_policy": {set: func(l *lua.LState, v lua.LValue) error {
			policies := []string{"opportunistic", "none", "encrypt", "verify"} // as mta.TLSOpportunistic and on
			i := slices.Index(policies, lua.LVAsString(v))
			if i < 0 {
				l.RaiseError("tls_policy is one of %q", policies)
			}
			return s.SetTLSPolicy(i)
		}},
		"source_ip": {set: setText(s.SetSourceIP)},
		"ehlo_name": {set: setText(s.SetEHLOName)},
		"priority":  {get: number(s.Priority), set: setNumber(s.SetPriority)},
		"retry_at":  {set: setNumber(s.SetRetry)},
		"expire_at": {set: setNumber(s.SetExpire)},

		"plugin":     {get: texts(s.Plugin)},
		"generation": {get: texts(s.Generation)},
	}
}

// strings_ are the texts of a table.
func strings_(l *lua.LState, v lua.LValue) []string {
	t, ok := v.(*lua.LTable)
	if !ok {
		l.RaiseError("a table of strings is needed and not a %s", v.Type())
	}
	var list []string
	for i := 1; i <= t.Len(); i++ {
		s, ok := t.RawGetInt(i).(lua.LString)
		if !ok {
			l.RaiseError("a table of strings is needed")
		}
		list = append(list, string(s))
	}
	return list
}

// object is userdata whose fields are properties and methods; anything else is
// an error, so that a misspelt name does not pass for "not there".
func (l *interpreter) object(what string, value any, props map[string]property, methods map[string]lua.LGFunction) *lua.LUserData {
	functions := make(map[string]*lua.LFunction, len(methods))
	for name, f := range methods {
		functions[name] = l.NewFunction(f)
	}
	meta := l.NewTable()
	meta.RawSetString("__index", l.NewFunction(func(l *lua.LState) int {
		name := lua.LVAsString(l.Get(2))
		if p, ok := props[name]; ok && p.get != nil {
			l.Push(p.get())
		} else if f, ok := functions[name]; ok {
			l.Push(f)
		} else if ok {
			l.RaiseError("%s.%s can be set only", what, name)
		} else {
			l.RaiseError("%s has no field %q", what, name)
		}
		return 1
	}))
	meta.RawSetString("__newindex", l.NewFunction(func(l *lua.LState) int {
		name := lua.LVAsString(l.Get(2))
		p, ok := props[name]
		if !ok || p.set == nil {
			l.RaiseError("%s.%s cannot be set", what, name)
		}
		must(l, what+"."+name, p.set(l, l.Get(3)))
		return 0
	}))
	meta.RawSetString("__metatable", lua.LFalse)
	return &lua.LUserData{Value: value, Metatable: meta, Env: l.Env}
}

// openSession makes the object that hooks are called with.
func (l *interpreter) openSession() {
	s := new(mta.Session)
	l.verdicts = l.object("a verdict", nil, nil, map[string]lua.LGFunction{
		"detach_transaction": changeVerdict(mta.Verdict.DetachTransaction),
		"detach_session":     changeVerdict(mta.Verdict.DetachSession),
		"no_reply":           changeVerdict(mta.Verdict.NoReply),
	}).Metatable
	l.openContent(s)
	l.session = l.object("s", s, properties(s), map[string]lua.LGFunction{
		"accept": verdict(200, 299, 0, func(code int, enhanced, text string) mta.Verdict {
			if code == 0 && enhanced == "" && text == "" {
				return mta.Accept
			}
			return s.Accept(max(code, 250*bit(code == 0)), enhanced, text)
		}),
		"reject":  verdict(500, 599, 550, s.Reject),
		"defer":   verdict(400, 499, 451, s.Defer),
		"drop":    verdict(421, 554, 421, s.Drop),
		"discard": verdict(0, 0, 0, func(int, string, string) mta.Verdict { return mta.Discard }),
		"hold":    verdict(0, 0, 0, func(int, string, string) mta.Verdict { return mta.Hold }),

		"add_recipient": func(l *lua.LState) int {
			must(l, "add_recipient", s.AddRecipient(l.CheckString(2)))
			return 0
		},
		"remove_recipients": func(l *lua.LState) int {
			f := l.CheckFunction(2)
			must(l, "remove_recipients", s.RemoveRecipients(func(r mta.Recipient) bool {
				l.Push(f)
				l.Push(vm.recipient(r))
				l.Call(1, 1)
				yes := lua.LVAsBool(l.Get(-1))
				l.Pop(1)
				return yes
			}))
			return 0
		},

		"attr": func(l *lua.LState) int {
			if v, ok := s.Attr(scope(l), l.CheckString(3)); ok {
				l.Push(lua.LString(v))
			} else {
				l.Push(lua.LNil)
			}
			return 1
		},
		"set_attr": func(l *lua.LState) int {
			if l.Get(4) == lua.LNil {
				must(l, "set_attr", s.DeleteAttr(scope(l), l.CheckString(3)))
			} else {
				must(l, "set_attr", s.SetAttr(scope(l), l.CheckString(3), l.CheckString(4)))
			}
			return 0
		},
	})
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// scope is the argument of an attribute's method.
func scope(l *lua.LState) mta.Scope {
	switch l.CheckString(2) {
	case "session":
		return mta.SessionScope
	case "transaction":
		return mta.TransactionScope
	case "message":
		return mta.MessageScope
	case "recipient":
		return mta.RecipientScope
	}
	l.ArgError(2, `the scope is "session", "transaction", "message" or "recipient"`)
	return 0
}

// verdict is a method that makes a verdict: (code, enhanced, text), each of which
// may be left out. Codes are from lowest to highest.
func verdict(lowest, highest, usual int, make func(code int, enhanced, text string) mta.Verdict) lua.LGFunction {
	return func(l *lua.LState) int {
		code, enhanced, text := usual, "", ""
		args := 2
		if n, ok := l.Get(args).(lua.LNumber); ok {
			code = int(n)
			args++
			if code < lowest || code > highest {
				l.RaiseError("the code %d does not suit this verdict: it has %d to %d", code, lowest, highest)
			}
			if code == 521 || usual == 421 && code != 421 && code != 554 {
				l.RaiseError("the code %d does not suit this verdict", code)
			}
		} else if l.Get(args) == lua.LNil && l.GetTop() > args {
			args++
		}
		if first := l.OptString(args, ""); isEnhanced(first) {
			if first[0] != '0'+byte(max(code, 250*bit(usual == 0))/100) {
				l.RaiseError("%s does not suit the code %d", first, code)
			}
			enhanced = first
			args++
		} else if l.Get(args) == lua.LNil {
			args++
		} else if l.GetTop() > args {
			l.RaiseError("%q is no enhanced status code, such as \"5.7.1\"", first)
		}
		text = l.OptString(args, "")
		if highest == 0 && (enhanced != "" || text != "") {
			l.RaiseError("this verdict has no reply")
		}
		vm.refused = true
		l.Push(&lua.LUserData{Value: make(code, enhanced, text), Metatable: vm.verdicts})
		return 1
	}
}

func isEnhanced(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 {
		return false
	}
	for _, p := range parts {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

func changeVerdict(f func(mta.Verdict) mta.Verdict) lua.LGFunction {
	return func(l *lua.LState) int {
		v, ok := l.CheckUserData(1).Value.(mta.Verdict)
		if !ok {
			l.ArgError(1, "a verdict is needed")
		}
		l.Push(&lua.LUserData{Value: f(v), Metatable: vm.verdicts})
		return 1
	}
}
