package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// contract is what package abi holds.
type contract struct {
	module    string // of the imports
	version   [2]int64
	hooks     []string
	groups    []group
	functions []function
	others    []module // the capabilities
}

// module is an import module besides the core's.
type module struct {
	name      string
	functions []function
}

// short is the name without that of the contract: kv.
func (m module) short() string { return strings.TrimPrefix(m.name, "mta1_") }

// group is a kind of constants.
type group struct {
	name, title string
	hex         bool
	list        []number
}

// number is a constant; section is the comment of the lines that it begins.
type number struct {
	name    string // as the contract writes it: REMOTE_IP
	value   int64
	comment string
	section string
}

type function struct {
	name, comment string
	params        []param
	result        kind // narrow or long
}

type param struct {
	name string
	kind kind
}

// kind is what a parameter is.
type kind int

const (
	narrow kind = iota // 32 bits
	long               // 64 bits
	size               // the length of the pointer before it
	in                 // a pointer that the host reads
	out                // a pointer that the host writes
)

// groups are the kinds of constants: how to tell them by Go's type and prefix,
// which the group's name replaces.
var groups = []struct{ typ, prefix, name, title string }{
	{"Code", "", "code", "Error codes: what a function returns below zero."},
	{"Action", "", "action", "Actions: the low octet of a verdict."},
	{"Flag", "", "flag", "Flags: the second octet of a verdict."},
	{"Field", "", "field", "Fields, for get, get_num, set and set_num. b: octets, n: a number, set: may be changed."},
	{"List", "List", "list", "Lists."},
	{"ListField", "", "element", "Fields of the lists' elements."},
	{"Scope", "Scope", "scope", "Scopes: how long an attribute lasts."},
	{"int32", "Log", "log_level", "Log levels."},
	{"int32", "Feature", "feature", "Features, for the function feature."},
	{"int32", "KV", "kv_flag", "Flags of mta1_kv."},
	{"int32", "Metric", "metric", "Kinds of metrics."},
	{"int32", "Alg", "alg", "Algorithms of mta1_crypto."},
	{"int32", "Canon", "canon", "Canonicalisations of a body (RFC 6376 3.4), for digest_body."},
	{"int32", "HTTP", "method", "Methods of mta1_http."},
	{"int32", "Send", "send", "What start_msg of mta1_http sends."},
	{"untyped int", "Max", "max", "Limits, most of them of one hook call."},
}

// read reads the contract from the source in dir.
func read(dir string) (*contract, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	// The constants are all that counts: what functions use need not be known.
	pkg, err := (&types.Config{Importer: empty{}, IgnoreFuncBodies: true}).Check("abi", fset, files, nil)
	if err != nil {
		return nil, err
	}
	c := &contract{}
	for _, g := range groups {
		c.groups = append(c.groups, group{name: g.name, title: g.title, hex: g.typ == "Field"})
	}
	for _, f := range files {
		trailing := comments(fset, f)
		for _, d := range f.Decls {
			d, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range d.Specs {
				v, ok := s.(*ast.ValueSpec)
				if !ok {
					continue
				}
				switch name := v.Names[0].Name; {
				case d.Tok == token.CONST:
					c.constant(pkg.Scope().Lookup(name).(*types.Const), v)
				case name == "hooks":
					for _, row := range v.Values[0].(*ast.CompositeLit).Elts {
						c.hooks = append(c.hooks, text(row))
					}
				case name == "functions":
					if c.functions, err = functions(v.Values[0], fset, trailing); err != nil {
						return nil, err
					}
				case name == "capabilities":
					for _, row := range v.Values[0].(*ast.CompositeLit).Elts {
						e := row.(*ast.CompositeLit).Elts
						k := pkg.Scope().Lookup(e[0].(*ast.Ident).Name).(*types.Const)
						m := module{name: constant.StringVal(k.Val())}
						if m.functions, err = functions(e[1], fset, trailing); err != nil {
							return nil, err
						}
						c.others = append(c.others, m)
					}
				}
			}
		}
	}
	for _, g := range c.groups {
		if len(g.list) == 0 {
			return nil, fmt.Errorf("package abi has no constants of the group %q", g.name)
		}
		for i := range g.list {
			g.list[i].comment = c.translate(g.list[i].comment)
		}
	}
	if c.module == "" || len(c.hooks) == 0 || len(c.functions) == 0 {
		return nil, fmt.Errorf("package abi in %q lacks its module, hooks or functions", dir)
	}
	return c, nil
}

// constant adds a constant to its group.
func (c *contract) constant(k *types.Const, v *ast.ValueSpec) {
	name := k.Name()
	if name == "Module" {
		c.module = constant.StringVal(k.Val())
	}
	if k.Val().Kind() != constant.Int {
		return
	}
	value, _ := constant.Int64Val(k.Val())
	switch name {
	case "Major":
		c.version[0] = value
	case "Minor":
		c.version[1] = value
	}
	typ := k.Type().String()
	typ = typ[strings.LastIndexByte(typ, '.')+1:]
	for i, g := range groups {
		rest, ok := strings.CutPrefix(name, g.prefix)
		if g.typ != typ || !ok {
			continue
		}
		n := number{contractName(typ, rest), value, clean(v.Comment), clean(v.Doc)}
		c.groups[i].list = append(c.groups[i].list, n)
	}
}

// translate replaces Go's names of codes and actions in a comment.
func (c *contract) translate(comment string) string {
	return word.ReplaceAllStringFunc(comment, func(s string) string {
		for _, typ := range []string{"Code", "Action"} {
			name := contractName(typ, s)
			for _, g := range c.groups {
				if slices.ContainsFunc(g.list, func(n number) bool { return n.name == name && (g.name == "code" || g.name == "action") }) {
					return name
				}
			}
		}
		return s
	})
}

var word = regexp.MustCompile(`\b[A-Z][a-z]\w*`)

// irregular are the names that Go spells otherwise than the contract.
var irregular = map[string]string{
	"Invalid": "INVAL", "Unavailable": "UNAVAIL", "NXDomain": "NXDOMAIN", "ServFail": "SERVFAIL",
	"DetachTransaction": "DETACH_TX", "RequireTLS": "REQUIRETLS", "HostVer": "HOST_VERSION",
	"HostMinor": "HOST_ABI_MINOR", "WallLeft": "WALL_LEFT_MS", "TLSSNI": "TLS_SNI", "DNSTTL": "DNS_TTL", "DNSAD": "DNS_AD",
}

// contractName is the contract's name of a constant: RemoteIP is REMOTE_IP.
func contractName(typ, name string) string {
	s, ok := irregular[name]
	if !ok {
		s = snake(name)
	}
	if typ == "Code" && s != "OK" {
		s = "E_" + s
	}
	return s
}

func snake(name string) string {
	var b strings.Builder
	r := []rune(name)
	for i, c := range r {
		if i > 0 && unicode.IsUpper(c) && (unicode.IsLower(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(c))
	}
	return b.String()
}

// comments are the comments of a file by the line they stand on.
func comments(fset *token.FileSet, f *ast.File) map[int]string {
	m := map[int]string{}
	for _, g := range f.Comments {
		m[fset.Position(g.Pos()).Line] = clean(g)
	}
	return m
}

// clean is a comment's text on one line.
func clean(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }

func text(e ast.Expr) string {
	s, _ := strconv.Unquote(e.(*ast.BasicLit).Value)
	return s
}

// empty imports packages without anything in them.
type empty struct{}

func (empty) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}

// functions reads a table of functions: name, signature, parameters.
func functions(table ast.Expr, fset *token.FileSet, trailing map[int]string) ([]function, error) {
	var list []function
	for _, row := range table.(*ast.CompositeLit).Elts {
		e := row.(*ast.CompositeLit).Elts
		f, err := parseFunction(text(e[0]), text(e[1]), text(e[2]))
		if err != nil {
			return nil, err
		}
		f.comment = trailing[fset.Position(row.Pos()).Line]
		list = append(list, f)
	}
	return list, nil
}

// length tells the name of a parameter that is the length of the one before.
func length(name string) bool { return name == "cap" || strings.HasSuffix(name, "len") }

func parseFunction(name, signature, params string) (function, error) {
	f := function{name: name}
	types, result, _ := strings.Cut(signature, ">")
	if result == "I" {
		f.result = long
	}
	var names []string
	if params != "" {
		names = strings.Split(params, ", ")
	}
	if len(names) != len(types) {
		return f, fmt.Errorf("function %s: %d parameters are named, %s has %d", name, len(names), signature, len(types))
	}
	for i, n := range names {
		p := param{n, narrow}
		next := ""
		if i+1 < len(names) {
			next = names[i+1]
		}
		switch {
		case types[i] == 'I':
			p.kind = long
		case n == "buf" || next == "cap" || strings.HasPrefix(n, "out"):
			p.kind = out
		case length(next):
			p.kind = in
		case length(n) && i > 0 && f.params[i-1].kind >= in:
			p.kind = size
		}
		switch n {
		case "type", "new": // words of the languages
			p.name += "_"
		}
		f.params = append(f.params, p)
	}
	return f, nil
}
