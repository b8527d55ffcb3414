//go:build unix

package job

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// project is a place in a project with a worktree.
var project = Place{
	Dir: "/w/app", Roots: []string{"/w/app", "/w", "/"}, Home: "/home/me",
	IsDir: func(path string) bool { return path == "/tmp" || path == "/home/me" || path == "/srv/data" },
}

func TestALineNeedsWhatOpenCodeWouldAsk(t *testing.T) {
	// What follows was compared with OpenCode's own parser and rules.
	tests := map[string][]string{
		"ls":                              {"ls"},
		"  ls -l ":                        {"ls -l"},
		"ls v1 && echo b | ls v2x; cat n": {"ls v1", "echo b", "ls v2x", "cat n"},
		"a && b | c; d":                   {"a", "b", "c", "d"},
		"a\nb\n# comment\nc # more":       {"a", "b", "c"},
		"a & b & wait":                    {"a", "b", "wait"},
		"a; a; b":                         {"a", "b"},
		"a \\\n b":                        {"a \\\n b"},

		"echo $(x y) z":                 {"echo $(x y) z", "x y"},
		"echo `x y` z":                  {"echo `x y` z", "x y"},
		`echo "$(rm $(pwd))"`:           {`echo "$(rm $(pwd))"`, "rm $(pwd)", "pwd"},
		`echo '$(a)' "$(b)"`:            {`echo '$(a)' "$(b)"`, "b"},
		"echo ${X:-$(cmd)} $((1+$(n)))": {"echo ${X:-$(cmd)} $((1+$(n)))", "cmd", "n"},
		"X=$(cmd)":                      {"cmd"},
		"A=(1 $(b))":                    {"b"},
		"$(a) b":                        {"$(a) b", "a"},
		"$CMD foo":                      {"$CMD foo"},
		`a "${x[$(b)]}"`:                {`a "${x[$(b)]}"`, "b"},
		"diff <(sort a) <(sort b)":      {"diff <(sort a) <(sort b)", "sort a", "sort b"},
		"a > >(b) 2> >(c)":              {"a > >(b) 2> >(c)", "b", "c"},
		`cat <<< "$(w)"`:                {`cat <<< "$(w)"`, "w"},

		"bash -c 'rm -rf x; y'":   {"bash -c 'rm -rf x; y'"},
		"xargs -I{} sh -c 'a {}'": {"xargs -I{} sh -c 'a {}'"},
		"find . -exec rm {} \\;":  {"find . -exec rm {} \\;"},
		`eval "rm x"`:             {`eval "rm x"`},
		"env X=1 cmd y":           {"env X=1 cmd y"},
		"X=1 Y=2 cmd y":           {"X=1 Y=2 cmd y"},
		"X=1":                     {"X=1"},
		"sudo rm -rf /x":          {"sudo rm -rf /x"},
		"trap 'rm x' EXIT":        {"trap 'rm x' EXIT"},

		"(a; b)":               {"a", "b"},
		"{ a; b; } 2>&1":       {"a", "b"},
		"$( (a) )":             {"$( (a) )", "a"},
		"f() { rm x; }; f":     {"rm x", "f"},
		"function g { a; }; g": {"a", "g"},
		"if test -f a; then b; elif [ -f c ]; then d; else e; fi": {"test -f a", "b", "[ -f c ]", "d", "e"},
		"[ -f x ] && y":                       {"[ -f x ]", "y"},
		"[ $(a) = b ]":                        {"[ $(a) = b ]", "a"},
		"[[ -f $(z) ]] && y":                  {"[[ -f $(z) ]]", "z", "y"},
		"while read l; do echo $l; done < in": {"read l", "echo $l"},
		"until x; do y; done":                 {"x", "y"},
		"for i in $(ls); do echo $i; done":    {"ls", "echo $i"},
		"for ((i=0;i<3;i++)); do x; done":     {"x"},
		"case $(uname) in L) a;; *) b;; esac": {"uname", "a", "b"},
		"select i in a b; do c; done":         {"c"},
		"! grep x y":                          {"grep x y"},
		"time make all":                       {"time make all"},
		"time a | b":                          {"time a", "b"},
		"time":                                {"time"},
		"coproc cat x":                        {"coproc cat x"},
		"let x=1":                             {"let x=1"},
		"(( x = 1 ))":                         {"(( x = 1 ))"},
		"export A=$(cmd)":                     {"export A=$(cmd)", "cmd"},
		"declare -x A=1; unset A":             {"declare -x A=1", "unset A"},
		"cd sub":                              {"cd sub"},
		"cd sub && ls":                        {"ls"},
		"x='a[$(t)]'; y=$((x))":               {"y=$((x))"},
		"ls; x=${y:z}":                        {"ls", "x=${y:z}"},
		"cd $(pwd)":                           {"pwd"},

		"a > f":                            {"a > f"},
		">f cmd a":                         {">f cmd a"},
		"cmd a >f b":                       {"cmd a >f b"},
		"cmd 2>/dev/null | x":              {"cmd 2>/dev/null", "x"},
		"cd x && npm test 2>&1":            {"npm test"},
		"cd x && npm test >/dev/null":      {"npm test"},
		"cat <<EOF\nbody $(in a)\nEOF":     {"cat <<EOF\nbody $(in a)\nEOF", "in a"},
		"cat <<'EOF' | grep x\n$(in)\nEOF": {"cat <<'EOF' | grep x\n$(in)\nEOF", "grep x"},
		"cat <<EOF && rm x\nbody\nEOF":     {"cat <<EOF && rm x\nbody\nEOF", "rm x"},
		"cat <<-E\n\tx $(a)\n\tE\nb":       {"cat <<-E\n\tx $(a)\n\tE", "a", "b"},

		// What follows is more than OpenCode asks.
		"a && b > f":              {"a", "b > f"},
		"a | b >> f 2>&1":         {"a", "b >> f 2>&1"},
		"(a; b) > f":              {"> f", "a", "b"},
		"while a; do b; done &>f": {"&>f", "a", "b"},
		"> f":                     {"> f"},
		"X=1 > f":                 {"X=1 > f"},
		"[ -f x ] > f":            {"[ -f x ] > f"},
		"export A=1 > f":          {"export A=1", "> f"},
		"cd x > f":                {"> f"},
		"(a) 2>&1 >&- >&2":        {"a"},
		"a && b >&f":              {"a", "b >&f"},
	}
	for line, want := range tests {
		got := NeedsOf(line, project)
		if diff := cmp.Diff(want, got.Commands); diff != "" {
			t.Errorf("%q:\n%s", line, diff)
		}
	}
}

func TestWhatIsNoShellIsAskedForAsAWhole(t *testing.T) {
	for line, pieces := range map[string][]string{
		"echo 'unterminated": {"echo 'unterminated"}, "a;;b": {"a", "b"}, "a &&": {"a"}, "if x": {"x"}, "echo $(": {"echo $"}, "echo `x": {"echo", "x"},
		")": nil, "a | | b": {"a", "b"}, "echo \\$(a)": {"echo \\$", "a"}, "${": nil, "f( {": {"f"},
		"shopt -s extglob\necho @($(t))": {"shopt -s extglob", "echo @", "t"},
		"touch a\n) && ! rm  -r b":       {"touch a", "rm -r b"}, "a; a; then a (": {"a"},
	} {
		want := Needs{Commands: append([]string{line}, slices.DeleteFunc(pieces, func(p string) bool { return p == line })...), Always: []string{line}}
		if diff := cmp.Diff(want, NeedsOf(" "+line+"\n", project)); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
	at := project
	at.Dir = "/srv/data"
	if got := NeedsOf("a;;b", at); !cmp.Equal(got.External, []string{"/srv/data/*"}) {
		t.Errorf("%+v", got)
	}
}

func TestALineNeedsTheDirectoriesOutside(t *testing.T) {
	tests := map[string][]string{
		"cat a ../b /w/c ./d":            nil,
		"cat /etc/passwd":                {"/etc/*"},
		"cat /dev/null":                  {"/dev/*"}, // as OpenCode does
		"rm -rf /srv/data '/srv/data/x'": {"/srv/data/*"},
		"cp a ../../etc/x":               {"/etc/*"},
		"cp a ../../x":                   {"/*"},
		"cd /tmp && ls":                  {"/tmp/*"},
		"cd ~ && rm ~/x/y":               {"/home/me/*", "/home/me/x/*"},
		"mv a \"/etc/b c\"":              {"/etc/*"},
		"rm /srv/*.txt":                  {"/*"}, // what is before the wildcard is /srv/
		"rm *.txt":                       nil,
		"rm $HOME/x \"$(pwd)/y\" `z`/a":  nil, // not followed
		"chmod +x /etc/a":                {"/etc/*"},
		"grep x /etc/passwd":             nil, // OpenCode looks only at what handles files
		"echo $(cat /etc/passwd)":        {"/etc/*"},
		"(cd /srv/data; touch /opt/x)":   {"/srv/data/*", "/opt/*"},
		"a > /opt/x":                     {"/opt/*"},
		"a >> '/opt/x' < /etc/y 2>&1":    {"/opt/*", "/etc/*"},
		"(a; b) &> /opt/x":               {"/opt/*"},
		"> /opt/x":                       {"/opt/*"},
		"a > ../x":                       nil,
		"a > /dev/null 2>/dev/null <&3":  nil,
		"a > /dev/stderr; b < /dev/zero": nil,
		"a > /dev/sda":                   {"/dev/*"},
		"a <<X >/opt/x\nX":               {"/opt/*"},
		"a <<< /opt/x":                   nil,
		"a >&2 >&/opt/x":                 {"/opt/*"},
		"pushd /tmp; popd":               {"/tmp/*"},
		"a > $OUT":                       nil,
	}
	for line, want := range tests {
		if diff := cmp.Diff(want, NeedsOf(line, project).External); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
	outside := project
	outside.Dir = "/srv/data/sub"
	if got := NeedsOf("ls > x", outside); !cmp.Equal(got.External, []string{"/srv/data/sub/*"}) {
		t.Errorf("%+v", got)
	}
	if got := NeedsOf("cat /w/x /w2/x", Place{Dir: "/w", Roots: []string{"/w"}}); !cmp.Equal(got.External, []string{"/w2/*"}) {
		t.Errorf("%+v", got)
	}
}

func TestAlwaysNamesTheCommand(t *testing.T) {
	tests := map[string]string{
		"ls -l x":                 "ls *",
		"git push -f origin":      "git push *",
		"git stash pop 1":         "git stash pop *",
		"git":                     "git *",
		"npm run dev -- --port 1": "npm run dev *",
		"npm test":                "npm test *",
		"gh pr list -L 3":         "gh pr list *",
		"docker compose up -d":    "docker compose up *",
		"X=1 go test ./...":       "go test *",
		"./x.sh a":                "./x.sh *",
		"time make all":           "time *",
		"> f":                     "> f",
	}
	for line, want := range tests {
		if got := NeedsOf(line, project).Always; !cmp.Equal(got, []string{want}) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestDeepNestingIsUnderstoodOrRefused(t *testing.T) {
	for _, open := range []string{"$(", "(", "`", "{ ", "if a; then ", "((", "$((1-(", "${x:-", "\"$(", "<(", "a && ", "a | ", "! ", "time ", "x() ", "$((-", "a[1?2:"} {
		for _, length := range []int{maxOpened - 10, maxParsed, maxArgument} {
			start := time.Now()
			got := NeedsOf(strings.Repeat(open, length/len(open)), project)
			if took := time.Since(start); len(got.Commands) == 0 || took > 10*time.Second {
				t.Errorf("%q: %d patterns after %v", open, len(got.Commands), took)
			}
		}
	}
	for _, within := range []string{"!", "-", "~", "1?2:", "a=", "2**", "1,", "1||"} {
		line := "((" + strings.Repeat(within, maxParsed/len(within)-4) + "1))"
		if got := NeedsOf(line, project); got.Commands[0] != line {
			t.Errorf("%q: the first of %d patterns is another", within, len(got.Commands))
		}
	}
}

func FuzzNeedsOf(f *testing.F) {
	for _, line := range []string{"a && b | c; d", "echo $(x) `y` > f", "cat <<E | x\n$(y)\nE\nz", "time (a) & coproc b", "if [ x ]; then >f; fi", "f() { a; } 2>&1", "a\\\n b <(c)"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := NeedsOf(line, project)
		_, understood := parse(line)
		if len(got.Commands) < len(got.Always) || !understood && len(got.Commands) < 1 {
			t.Errorf("%q: %+v", line, got)
		}
		for _, p := range got.Commands {
			if understood && (p == "" || p != strings.TrimSpace(p) || !strings.Contains(line, p)) {
				t.Errorf("%q: pattern %q", line, p)
			}
		}
	})
}
