package hostapi

import (
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// readme gives the rows of the tables in abi/README.md by their header row.
func readme(t *testing.T) map[string][][]string {
	t.Helper()
	b, err := os.ReadFile("abi/README.md")
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string][][]string{}
	header := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			header = ""
			continue
		}
		var cells []string
		for c := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.Trim(strings.TrimSpace(c), "`"))
		}
		switch {
		case header == "":
			header = strings.Join(cells, " ")
		case !strings.HasPrefix(cells[0], "---"):
			tables[header] = append(tables[header], cells)
		}
	}
	return tables
}

// constants are the constants of the package abi by their type's name.
func constants(t *testing.T) map[string]map[string]int64 {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "abi/abi.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	files := []*ast.File{f}
	for _, name := range []string{"abi/signature.go", "abi/capability.go"} {
		g, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, g)
	}
	pkg, err := (&types.Config{Importer: importer.ForCompiler(fset, "source", nil)}).Check("abi", fset, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]int64{}
	for _, name := range pkg.Scope().Names() {
		c, ok := pkg.Scope().Lookup(name).(*types.Const)
		if !ok || c.Val().Kind() != constant.Int {
			continue
		}
		typ := c.Type().String()
		typ = typ[strings.LastIndexByte(typ, '.')+1:]
		if out[typ] == nil {
			out[typ] = map[string]int64{}
		}
		out[typ][name], _ = constant.Int64Val(c.Val())
	}
	return out
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		t.Errorf("%q in README.md is no number", s)
	}
	return n
}

// where is how README.md names a set of stages.
func where(s hook.StageSet) string {
	switch s {
	case 0:
		return ""
	case always:
		return "always"
	case inAll:
		return "all"
	case inSession:
		return "session"
	case inTx:
		return "transaction"
	case inContent:
		return "content"
	case inHeader:
		return "header"
	case inDelivery:
		return "delivery"
	}
	return strings.ReplaceAll(s.String(), " ", ", ")
}

func TestFieldsAreThoseOfTheContract(t *testing.T) {
	documented := map[abi.Field][]string{}
	for _, row := range readme(t)["Id Name Kind Read at Set at Meaning"] {
		documented[abi.Field(number(t, row[0]))] = row
	}
	consts := constants(t)["Field"]
	if len(documented) != len(consts) {
		t.Errorf("README.md has %d fields, abi.go %d", len(documented), len(consts))
	}
	for name, id := range consts {
		f := lookup(uint64(id))
		if f == nil {
			t.Errorf("abi.%s (%#x) is not in the table of fields", name, id)
			continue
		}
		row := documented[f.id]
		if row == nil {
			t.Errorf("abi.%s (%#x) is not in README.md", name, id)
			continue
		}
		kind := "b"
		if f.num != nil {
			kind = "n"
		}
		if want := []string{f.name, kind, where(f.stages), where(f.setStages)}; strings.Join(row[1:5], "|") != strings.Join(want, "|") {
			t.Errorf("README.md says %q of field %#x, the table says %q", row[1:5], id, want)
		}
		if (f.bytes != nil) == (f.num != nil) {
			t.Errorf("%s must be either octets or a number", f.name)
		}
		if (f.setStages != 0) != (f.setBytes != nil || f.setNum != nil) || f.setBytes != nil && f.bytes == nil || f.setNum != nil && f.num == nil {
			t.Errorf("%s: what sets it does not fit", f.name)
		}
		if f.grant != facts && !strings.Contains(row[5], "grant ") {
			t.Errorf("README.md must name the grant of %s", f.name)
		}
	}
	n := 0
	for _, block := range table {
		for _, f := range block {
			if f != nil {
				n++
			}
		}
	}
	if n != len(consts) {
		t.Errorf("the table has %d fields, abi.go %d", n, len(consts))
	}
}

func TestFunctionsAreThoseOfTheContract(t *testing.T) {
	tables, list := readme(t), Functions()
	rows := tables["Name Type Parameters Result"]
	check := func(module, name string, sig abi.Signature, row []string) {
		t.Helper()
		if len(list) == 0 || list[0].Module != module || list[0].Name != name || list[0].Signature != sig {
			t.Fatalf("the next function of hostapi must be %s.%s %s", module, name, sig)
		}
		list = list[1:]
		if row[0] != name || row[1] != string(sig) {
			t.Errorf("row %q of README.md must be %s %s", row, name, sig)
		}
		if got := strings.Count(row[2], ",") + min(len(row[2]), 1); got != strings.Index(string(sig), ">") {
			t.Errorf("README.md gives %s %d parameters", name, got)
		}
	}
	abi.Functions(func(name string, sig abi.Signature) {
		if len(rows) == 0 {
			t.Fatalf("%s is not in README.md", name)
		}
		check(abi.Module, name, sig, rows[0])
		rows = rows[1:]
	})
	capabilities := tables["Module Name Type Parameters Result"]
	offered := map[string]bool{}
	for _, f := range list {
		offered[f.Module] = true
	}
	abi.Capabilities(func(module, name string, sig abi.Signature, params []string) {
		if !offered[module] {
			t.Errorf("%s is not offered", module)
			return
		}
		for len(capabilities) > 0 && !offered[capabilities[0][0]] {
			capabilities = capabilities[1:]
		}
		if len(capabilities) == 0 || capabilities[0][0] != module {
			t.Fatalf("%s.%s is not in README.md", module, name)
		}
		if row := capabilities[0]; row[3] != strings.Join(params, ", ") {
			t.Errorf("README.md gives %s.%s the parameters %q, not %q", module, name, row[3], params)
		}
		check(module, name, sig, capabilities[0][1:])
		capabilities = capabilities[1:]
	})
	if len(list) != 0 || len(rows) != 0 || len(capabilities) != 0 {
		t.Errorf("more than in abi: %v in hostapi, %v and %v in README.md", list, rows, capabilities)
	}
}

func TestCodesAndNumbersAreDocumented(t *testing.T) {
	tables, consts := readme(t), constants(t)
	for _, c := range []struct {
		table, typ, prefix string
		name, number       int
	}{
		{"Code Name Meaning", "Code", "", 1, 0},
		{"Scope Name Lifetime", "Scope", "Scope", 1, 0},
		{"Flag Number Meaning", "Flag", "", 0, 1},
		{"Action Number Code Reply if none is given", "Action", "", 0, 1},
		{"Id List Read at Insert takes Remove", "List", "List", 1, 0},
	} {
		rows := tables[c.table]
		if len(rows) != len(consts[c.typ]) {
			t.Errorf("table %q has %d rows, abi has %d constants", c.table, len(rows), len(consts[c.typ]))
		}
		known := map[int64]bool{}
		for _, n := range consts[c.typ] {
			known[n] = true
		}
		for _, row := range rows {
			if !known[number(t, row[c.number])] {
				t.Errorf("%q of table %q is not in abi", row, c.table)
			}
		}
	}
	fields := tables["List Field Number Kind Set Meaning"]
	if len(fields) != len(consts["ListField"]) {
		t.Errorf("README.md has %d fields of lists, abi %d", len(fields), len(consts["ListField"]))
	}
	for _, row := range fields {
		found := false
		for name, n := range consts["ListField"] {
			found = found || strings.EqualFold(name, row[0]+strings.ReplaceAll(row[1], "_", "")) && n == number(t, row[2])
		}
		if !found {
			t.Errorf("field %s of list %s is not in abi with number %s", row[1], row[0], row[2])
		}
	}
	limits := map[string]bool{}
	for _, row := range tables["Of one hook call Limit Beyond it"] {
		for s := range strings.SplitSeq(row[1], ", ") {
			limits[s] = true
		}
	}
	for name, n := range consts["int"] {
		if strings.HasPrefix(name, "Max") && !limits[strconv.FormatInt(n, 10)] {
			t.Errorf("abi.%s = %d is not in README.md", name, n)
		}
	}
	for _, row := range tables["Id Name"] {
		want := "Feature" + strings.ReplaceAll(row[1], "_", "")
		found := false
		for name, n := range consts["int32"] {
			found = found || strings.EqualFold(name, want) && n == number(t, row[0])
		}
		if !found {
			t.Errorf("feature %q is not in abi", row)
		}
	}
}

// The server's stages and verdicts are those of the contract.
func TestHooksAreThoseOfTheContract(t *testing.T) {
	rows := readme(t)["NAME When Verdicts besides CONTINUE"]
	var names []string
	abi.Hooks(func(name string) { names = append(names, name) })
	n := 0
	hook.AllStages(func(s hook.Stage) {
		if n >= len(names) || names[n] != s.String() || n >= len(rows) || rows[n][0] != s.String() {
			t.Errorf("hook %d must be %s in abi and in README.md", n, s)
		} else {
			var allowed []string
			for a := hook.Accept; a <= hook.Drop; a++ {
				if s.Allows(a) {
					allowed = append(allowed, strings.ToUpper(a.String()))
				}
			}
			want := strings.Join(allowed, " ")
			if s.Ignored() {
				want = "ignored"
			}
			if rows[n][2] != want {
				t.Errorf("README.md allows %q at %s, core/hook %q", rows[n][2], s, want)
			}
		}
		n++
	})
	if n != len(names) || n != len(rows) {
		t.Errorf("%d stages, %d in abi, %d in README.md", n, len(names), len(rows))
	}
	for a, h := range map[abi.Action]hook.Action{abi.Continue: hook.Continue, abi.Accept: hook.Accept, abi.Reject: hook.Reject,
		abi.Defer: hook.Defer, abi.Discard: hook.Discard, abi.Hold: hook.Hold, abi.Drop: hook.Drop} {
		if uint8(a) != uint8(h) {
			t.Errorf("action %s has the number %d in the contract", h, a)
		}
	}
	for a, h := range map[abi.Scope]hook.Scope{abi.ScopeSession: hook.ScopeSession, abi.ScopeTransaction: hook.ScopeTransaction,
		abi.ScopeMessage: hook.ScopeMessage, abi.ScopeRecipient: hook.ScopeRecipient} {
		if int(a) != int(h) {
			t.Errorf("scope %d has the number %d in the contract", h, a)
		}
	}
}
