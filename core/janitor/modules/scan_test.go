package modules

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/jsonc"
)

// imports are what a source imports, "?" where only running it can tell.
func imports(name, text string) []string {
	var all []string
	for _, n := range scan(name, []byte(text)) {
		if n.Unsure != "" {
			n.Import = "?"
		}
		all = append(all, n.Import)
	}
	return sorted(all)
}

func TestScan(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string
	}{
		{`import a from "x"`, "x"},
		{`import a from 'x'`, "x"},
		{`import{a}from'x'`, "x"},
		{`import*as a from"x"`, "x"},
		{`import a, * as b from "x"`, "x"},
		{`import a, {b as c, default as d, "e f" as g} from "@s/x/y"`, "@s/x/y"},
		{"import {\n  a, // one\n  b, /* from \"./y\" */\n} from\n  'x'", "x"},
		{"import/**/a/**/from/**/\"x\"", "x"},
		{"import // c\u2028 a from 'x'", "x"},
		{"import\u00a0a\ufefffrom\u3000'x'", "x"},
		{`import "x"`, "x"},
		{`import'x';import"y"`, "x y"},
		{"a\nimport /* \n */ 'x'", "x"},
		{`import a from "x" with { type: "json" }`, "x"},
		{`import defer * as a from "x"`, "x"},
		{`import from from "x"`, "x"},
		{`import {from} from "x"`, "x"},
		{`import {import as a} from "x"`, "x"},
		{`import é from "x"`, "x"},
		{`import \u0041 from "x"`, "x"},
		{`import type A from "x"`, ""},
		{`import type {A} from "x"`, ""},
		{`import type * as A from "x"`, ""},
		{`import type from from "x"`, ""},
		{`import/**/type/**/{A}from"x"`, ""},
		{`import type from "x"`, "x"},
		{`import type, {A} from "x"`, "x"},
		{`import type, * as A from "x"`, "x"},
		{`import {type A} from "x"`, "x"},
		{`import { type } from "x"`, "x"},
		{`export * from "x"`, "x"},
		{`export*from"x"`, "x"},
		{`export * as a from "x"`, "x"},
		{`export * as "a b" from "x"`, "x"},
		{`export {a, b as "c d"} from "x"`, "x"},
		{`export type {A} from "x"`, ""},
		{`export type * from "x"`, ""},
		{`export type A = {from: "x"}`, ""},
		{`export {a}; from("x")`, ""},
		{`export default "x"`, ""},
		{`export const a = "from"`, ""},
		{`import("x")`, "x"},
		{"import(`x`)", "x"},
		{"import(`x${1}`)", "?"},
		{"await import /* a */ ( // b\n 'x' /* c */ , {with: {}})", "x"},
		{`import("./x")`, ""},
		{`import("./" + x)`, "?"},
		{`import(x)`, "?"},
		{`[...import("x")]`, "x"},
		{`import("\x78")`, "?"},
		{`import a from "\x78"`, "?"},
		{`import.meta.url`, ""},
		{`import.meta.resolve("x")`, "?"},
		{`import . /**/ meta . resolve("x")`, "?"},
		{`import.meta["resolve"]("x")`, "?"},
		{`import.defer("x")`, "?"},
		{`import a = require("x")`, "x"},
		{`require("x")`, "x"},
		{`require ( 'x' )`, "x"},
		{`require("node:fs"), require("fs"), require("./x"), require("fs/promises")`, ""},
		{`require(x)`, "?"},
		{`require("x" + y)`, "?"},
		{`require?.("x")`, "?"},
		{"const r = require\nr('x')", "?"},
		{`require.resolve("x")`, "?"},
		{`module.require("x")`, "x"},
		{`import { createRequire } from "node:module"`, "? node:module"},
		{`import * as m from "module"`, "module"},
		{`requ\u0069re("x")`, "?"},
		{`requ\u{69}re("x")`, "?"},
		{`"\u001b[1m \u{1F600}"`, ""},
		{`requ\u{` + strings.Repeat("0", 200) + `69}re("x")`, "?"},
		{`eval("x")`, "?"},
		{`(0, eval)("x")`, "?"},
		{"evaluates; an eval of it", ""},
		{`new Function ("x")`, "?"},
		{`import a from "../node_modules/x/y.js"`, "?"},
		{`glob("**/node_modules/**")`, ""},
		{`import a from "bun"; import b from "bun:sqlite"; import c from "node:path"`, ""},
		{`import a from "/abs"; import b from "."; import c from ".."; import d from "file:///x"`, ""},
		{`import a from "#x"; import b from "fsx"; import c from "https://x"`, "#x fsx https://x"},
		{`// import a from "x"`, "x"},
		{"`\nimport a from 'x'\n`", "x"},
		{"Use this to import the data, and export all of it. You require a file.", ""},
		{"the important requirement is exported", ""},
		{`important("x"); reimport("x"); $import("x"); import_("x"); required("x")`, ""},
		{"x\x00", "?"},
		{"import {" + strings.Repeat("a,", maxClause) + "} from 'x'", "?"},
		{"import /*" + strings.Repeat(" ", maxClause) + "*/ 'x'", "?"},
	} {
		got := strings.Join(imports("a.ts", tt.text), " ")
		if got != tt.want {
			t.Errorf("%.60q\ngot  %q\nwant %q", tt.text, got, tt.want)
		}
	}
	for _, tt := range []struct{ name, text, want string }{
		{"a.tsx", "export const a = 1", "?"},
		{"a.jsx", "export const a = 1", "?"},
		{"a.js", "export default <a/>", "?"},
		{"a.mjs", "export default () => <a>b</a>", "?"},
		{"a.js", "export default 1 < 2", ""},
		{"a.ts", "export default '<a/>'", ""},
	} {
		if got := strings.Join(imports(tt.name, tt.text), " "); got != tt.want {
			t.Errorf("%s %q: got %q, want %q", tt.name, tt.text, got, tt.want)
		}
	}
}

// A hostile source that is eight times as long takes about eight times as long to
// read, and not 64 times.
func TestScanIsLinear(t *testing.T) {
	const short, factor = 64 << 10, 8
	for _, unit := range []string{"import", "import ", "import{", "import/*", "export {a,", "require ", "require/**/", "import(`", "import'", "import//", "import type "} {
		// The best of some: others work on the machine, too.
		best := func(size int) time.Duration {
			source := []byte(strings.Repeat(unit, size/len(unit)))
			least := time.Hour
			for range 5 {
				start := time.Now()
				scan("a.ts", source)
				least = min(least, time.Since(start))
			}
			return least
		}
		if once, more := best(short), best(factor*short); more > 3*factor*once {
			t.Errorf("%q: %s for %d bytes, %s for %d", unit, once, short, more, factor*short)
		}
	}
}

// forms are imports of %s, with a # wherever space and comments may be.
var forms = []string{
	`import# a# from# %s`, `import#{#a#,#b# as# c#}#from#%s`, `import# *# as# a# from#%s`, `import# a#,#{#type# b#}#from#%s`,
	`import#%s`, `import# type# from#%s`, `import# type#,#{#a#}#from#%s`, `import#{#"a b"# as# c#,#from#}#from#%s`,
	`export#*#from#%s`, `export#{#a# as# default#}#from#%s`, `export#*#as#"x y"#from#%s`,
	`await import#(#%s#)`, `import#(#%s#,#{#}#)`, `const a = require#(#%s#)`, `import a = require#(#%s#)`, `x = [...import#(#%s#)]`,
}

// around is what may stand before and after an import, and its parts.
var (
	space   = []string{" ", "\t", "\n", "\r\n", "/* from './x' */", "// \"y\n", "/* ` */", "\u00a0", "\u2028", "\ufeff", " /**/ ", "// import\n"}
	between = []string{
		";\n", "\n", "/* ' */", "// `\n", "const re = /['\"`]/;\n", "const a = `${`'`}`;\n", "const b = 'import';\n", "x = y / z;\n",
		"type A = import('./y').B;\n", "/** You import what others export. */\n", "import './a';", "export const c = \"'\";\n", "f(`a\nb`);\n",
	}
)

// generate makes a source with one real import of the package "wanted".
func generate(r *rand.Rand) string {
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	var text strings.Builder
	for range r.IntN(6) {
		text.WriteString(pick(between))
	}
	quote := pick([]string{`"`, `'`})
	form := fmt.Sprintf(pick(forms), quote+"wanted"+quote)
	text.WriteString("\n")
	for i, part := range strings.Split(form, "#") {
		if i > 0 {
			// Words need something between them; a comment will do.
			if strings.HasPrefix(part, " ") || r.IntN(2) == 0 {
				text.WriteString(pick(space))
			}
		}
		text.WriteString(part)
	}
	for range r.IntN(4) {
		text.WriteString(pick(between))
	}
	return text.String()
}

func checkGenerated(t *testing.T, seed uint64) {
	t.Helper()
	text := generate(rand.New(rand.NewPCG(seed, 0)))
	if got := imports("a.ts", text); !slices.Contains(got, "wanted") {
		t.Errorf("seed %d: of %q only %v", seed, text, got)
	}
}

func TestScanMissesNothing(t *testing.T) {
	for seed := range uint64(5_000) {
		checkGenerated(t, seed)
	}
}

func FuzzGenerated(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(checkGenerated)
}

// Whatever stands before an import in another line, it is found.
func FuzzScan(f *testing.F) {
	for _, s := range slices.Concat(forms, space, between) {
		f.Add("a.ts", s)
	}
	f.Add("a.js", "import{\"")
	f.Fuzz(func(t *testing.T, name, text string) {
		name += ".js"
		scan(name, []byte(text))
		// Only as many imports as people would read are kept.
		needs := scan(name, []byte(text+"\nimport wanted from 'wanted'\n"))
		if len(needs) < maxNeeds && !strings.Contains(text, "\x00") && !slices.Contains(needs, Need{Import: "wanted"}) {
			t.Errorf("%q hides an import: %v", text, needs)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add(`{"plugin": ["./a", /* b */ "c",], // d` + "\n}")
	f.Add(`{"a": "\"//", "b": [1,]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var want, got any
		standard := jsonc.ToJSON([]byte(text))
		if json.Unmarshal([]byte(text), &want) != nil {
			return
		}
		if err := json.Unmarshal(standard, &got); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%q became %q", text, standard)
		}
	})
}
