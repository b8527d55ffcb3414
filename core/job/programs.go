package job

import (
	"slices"
	"strings"
)

// directoryPrograms change the directory; that needs no permission by itself.
var directoryPrograms = []string{"cd", "chdir", "popd", "pushd"}

// filePrograms are those whose arguments OpenCode takes for paths.
var filePrograms = append([]string{"rm", "cp", "mv", "mkdir", "touch", "chmod", "chown", "cat"}, directoryPrograms...)

// Programs that are named together with their subcommand: with one more word, or
// two. All others are named by their first word. It is OpenCode's notion of which
// commands are the same, so that an "always" that was given there holds here.
var (
	twoWords = strings.Fields(`
		bazel brew bun cargo cdk cf cmake composer consul crictl deno docker eksctl firebase flyctl git go
		gradle helm heroku hugo ip kind kubectl kustomize make mc minikube mongosh mysql mvn ng npm nvm nx
		openssl pip pipenv pnpm poetry podman psql pulumi pyenv python rake rbenv redis-cli rustup
		serverless skaffold sls sst swift systemctl terraform tmux turbo ufw vault vercel volta wp yarn`)
	threeWords = strings.Fields(`aws az doctl gcloud gh sfdx`)
	// threeAfter are pairs that take a third word.
	threeAfter = map[string][]string{
		"bun": {"run", "x"}, "cargo": {"add", "run"}, "consul": {"kv"}, "deno": {"task"},
		"docker": {"builder", "compose", "container", "image", "network", "volume"},
		"eksctl": {"create"}, "git": {"config", "remote", "stash"}, "ip": {"addr", "link", "netns", "route"},
		"kind": {"create"}, "kubectl": {"kustomize", "rollout"}, "mc": {"admin"},
		"npm": {"exec", "init", "run", "view"}, "openssl": {"req", "x509"}, "pnpm": {"dlx", "exec", "run"},
		"podman": {"container", "image"}, "pulumi": {"stack"}, "terraform": {"workspace"},
		"vault": {"auth", "kv"}, "yarn": {"dlx", "run"},
	}
)

// nameLength is how many of a command's words are its name; it may have fewer.
func nameLength(words []string) int {
	switch {
	case len(words) > 1 && slices.Contains(threeAfter[words[0]], words[1]), slices.Contains(threeWords, words[0]):
		return 3
	case slices.Contains(twoWords, words[0]):
		return 2
	}
	return 1
}
