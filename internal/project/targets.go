package project

import (
	"time"
)

// argv is a command in words, which no shell reads.
func argv() kind[[]string] {
	return list("words", maxWords, words("a word", maxSize))
}

func process() kind[Process] {
	return mapping("keys of process",
		at("command", func(p *Process) *[]string { return &p.Command }, argv(), "The command and its arguments, run in the directory of the release. It listens on the loopback address at `$PORT`.").required(),
		at("hosts", func(p *Process) *[]string { return &p.Hosts }, hosts(), "The names of hosts whose requests it gets. Without it, all that come to `listen`."),
		at("prefix", func(p *Process) *string { return &p.Prefix }, urlPath(), "The beginning of the paths that it gets.").or("/"),
		at("listen", func(p *Process) *string { return &p.Listen }, listen(), "Where the front proxy takes requests.").or(":8080"),
		at("tls-cert", func(p *Process) *string { return &p.TLSCert }, plain("a file", "/etc/ssl/shop.pem"), "The certificates that the front proxy shows, a file of the host."),
		at("tls-key", func(p *Process) *string { return &p.TLSKey }, plain("a file", "/etc/ssl/shop.key"), "Their key, a file of the host."),
		at("sticky", func(p *Process) *string { return &p.Sticky }, plain("cookie, or a header's name", "cookie"), "By what a person stays with one release while there are two: `cookie`, or the name of a header."),
		at("ready", func(p *Process) *string { return &p.Ready }, urlPath(), "A path that answers with 2xx when an instance is ready. Without it, its port is open."),
		at("stop", func(p *Process) *time.Duration { return &p.Stop }, duration(), "How long it has between TERM and KILL.").or("10s"),
		at("drain", func(p *Process) *time.Duration { return &p.Drain }, duration(), "How long requests under way may take before that.").or("30s"),
		at("user", func(p *Process) *string { return &p.User }, plain("a name", "www-data"), "Whose processes they are, where Fairlead may choose."),
		at("memory", func(p *Process) *int64 { return &p.Memory }, size(), "How much memory an instance may have."),
		at("systemd", func(p *Process) *bool { return &p.Systemd }, boolean(), "Instances are units of systemd.").or("false"),
		at("directory", func(p *Process) *string { return &p.Directory }, plain("a directory", "/var/lib/fairlead"), "Where the host keeps releases. Without it, where it keeps its own state."),
	)
}

func docker() kind[Docker] {
	return mapping("keys of docker",
		at("port", func(d *Docker) *int { return &d.Port }, between(1, 65535), "Where it listens in the container.").required(),
		at("host", func(d *Docker) *string { return &d.Host }, plain("an address", "unix:///run/docker.sock"), "The engine's address. Without it, the usual one."),
		at("command", func(d *Docker) *[]string { return &d.Command }, argv(), "What is run instead of the image's own command."),
		at("options", func(d *Docker) *string { return &d.Options }, plain("options", "--memory 512m --cpus 1"), "Options of `docker run`."),
		at("hosts", func(d *Docker) *[]string { return &d.Hosts }, hosts(), "The names of hosts whose requests it gets. Without it, all that come to `listen`."),
		at("prefix", func(d *Docker) *string { return &d.Prefix }, urlPath(), "The beginning of the paths that it gets.").or("/"),
		at("listen", func(d *Docker) *string { return &d.Listen }, listen(), "Where the front proxy takes requests.").or(":8080"),
		at("sticky", func(d *Docker) *string { return &d.Sticky }, plain("cookie, or a header's name", "cookie"), "By what a person stays with one release while there are two: `cookie`, or the name of a header."),
		at("ready", func(d *Docker) *string { return &d.Ready }, urlPath(), "A path that answers with 2xx when an instance is ready. Without it, the image's health check, or its port is open."),
		at("stop", func(d *Docker) *time.Duration { return &d.Stop }, duration(), "How long it has between TERM and KILL.").or("10s"),
		at("drain", func(d *Docker) *time.Duration { return &d.Drain }, duration(), "How long requests under way may take before that.").or("30s"),
		at("volumes", func(d *Docker) *[]string { return &d.Volumes }, list("volumes", maxWords, plain("a volume", "shop-data:/data")), "Volumes and directories, as `docker run --volume` has them."),
		at("network", func(d *Docker) *string { return &d.Network }, plain("a network", "backend"), "A network that the containers are in, too."),
	)
}

func kubernetes() kind[Kubernetes] {
	return mapping("keys of kubernetes",
		at("manifests", func(k *Kubernetes) *[]string { return &k.Manifests }, list("files", maxWords, treePath("a file or a directory")), "The team's manifests: files, or directories of files."),
		at("kustomize", func(k *Kubernetes) *string { return &k.Kustomize }, treePath("a directory"), "A directory with a kustomization."),
		at("helm", func(k *Kubernetes) *string { return &k.Helm }, treePath("a directory"), "A chart."),
		at("values", func(k *Kubernetes) *[]string { return &k.Values }, list("files", maxWords, treePath("a file")), "The chart's files of values."),
		at("context", func(k *Kubernetes) *string { return &k.Context }, plain("a name", "prod-eu"), "Which context of the kubeconfig is meant. Without it, the current one; in a cluster, that cluster."),
		at("namespace", func(k *Kubernetes) *string { return &k.Namespace }, namespace(), "Where its objects go; one that says another namespace is refused. `{{environment}}` and `{{service}}` stand for their names.").or("the context's"),
		at("container", func(k *Kubernetes) *string { return &k.Container }, deployName("app"), "The container that gets the release's image, if there are several."),
		at("route", func(k *Kubernetes) *string { return &k.Route }, deployName("shop"), "An HTTPRoute whose weights share the requests out. Without it, numbers of replicas do."),
		at("prune", func(k *Kubernetes) *bool { return &k.Prune }, boolean(), "Objects that a release no longer declares are removed.").or("false"),
	)
}

func ssh() kind[SSH] {
	return mapping("keys of ssh",
		at("machines", func(s *SSH) *[]string { return &s.Machines }, list("machines", maxInstances, plain("a machine", "deploy@web-1.example:22")), "The machines, as user@host:port.").required(),
		at("identity", func(s *SSH) *string { return &s.Identity }, plain("a file", "~/.ssh/deploy"), "The key. Without it, those of the agent."),
		at("known-hosts", func(s *SSH) *string { return &s.Known }, plain("a file", "~/.ssh/known_hosts"), "The file with the machines' own keys.").or("~/.ssh/known_hosts"),
		at("process", func(s *SSH) *Process { return &s.Process }, process(), "How it runs on each of them.").required(),
	)
}

func terraform() kind[Terraform] {
	return mapping("keys of terraform",
		at("directory", func(t *Terraform) *string { return &t.Directory }, treePath("a directory"), "The root module.").required(),
		at("binary", func(t *Terraform) *string { return &t.Binary }, plain("a program", "tofu"), "What applies it. Without it, terraform or tofu, whichever is installed."),
		at("workspace", func(t *Terraform) *string { return &t.Workspace }, plain("a name", "production"), "The workspace. Without it, the default one; `{{environment}}` stands for the environment's name."),
		at("var-files", func(t *Terraform) *[]string { return &t.VarFiles }, list("files", maxWords, plain("a file", "{{environment}}.tfvars")), "Files of variables; `{{environment}}` stands for the environment's name."),
		at("variables", func(t *Terraform) *map[string]string { return &t.Variables }, named("variables", maxVariables, words("a text", maxSize)), "Variables of the root module."),
	)
}

func ansible() kind[Ansible] {
	return mapping("keys of ansible",
		at("playbook", func(a *Ansible) *string { return &a.Playbook }, treePath("a file"), "The playbook.").required(),
		at("inventory", func(a *Ansible) *string { return &a.Inventory }, plain("a file", "inventory/{{environment}}"), "The inventory; `{{environment}}` stands for the environment's name."),
		at("limit", func(a *Ansible) *string { return &a.Limit }, plain("a pattern", "web"), "Which of its machines."),
		at("variables", func(a *Ansible) *map[string]string { return &a.Variables }, named("variables", maxVariables, words("a text", maxSize)), "Variables of the playbook."),
	)
}

func cloudFormation() kind[CloudFormation] {
	return mapping("keys of cloudformation",
		at("template", func(c *CloudFormation) *string { return &c.Template }, treePath("a file"), "The template.").required(),
		at("stack", func(c *CloudFormation) *string { return &c.Stack }, plain("a name", "shop-{{environment}}"), "The stack's name; `{{environment}}` stands for the environment's.").required(),
		at("region", func(c *CloudFormation) *string { return &c.Region }, plain("a region", "eu-central-1"), "Where. Without it, what the environment variable AWS_REGION says."),
		at("endpoint", func(c *CloudFormation) *string { return &c.Endpoint }, link(), "Another address of the service."),
		at("parameters", func(c *CloudFormation) *map[string]string { return &c.Parameters }, named("parameters", maxVariables, words("a text", maxSize)), "Parameters of the stack."),
		at("capabilities", func(c *CloudFormation) *[]string { return &c.Capabilities }, list("capabilities", 3, choice("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")), "What the template may do beyond the usual."),
	)
}

func commandDriver() kind[CommandDriver] {
	return mapping("keys of command",
		at("apply", func(c *CommandDriver) *string { return &c.Apply }, plain("a command", "./deploy.sh"), "Brings the release there, run by sh at the root of the tree.").required(),
		at("observe", func(c *CommandDriver) *string { return &c.Observe }, plain("a command", "./deploy.sh status"), "Prints what is there."),
		at("rollback", func(c *CommandDriver) *string { return &c.Rollback }, plain("a command", "./deploy.sh back"), "Brings the old release back. Without it, `apply` of the old release does."),
		at("probe", func(c *CommandDriver) *string { return &c.Probe }, plain("a command", "./deploy.sh done"), "Exits with 0 if the release is there. It is asked when a crash left that unknown; without it, a person is."),
		at("plan", func(c *CommandDriver) *string { return &c.Plan }, plain("a command", "./deploy.sh plan"), "Prints what `apply` would change, a line each."),
		at("drift", func(c *CommandDriver) *string { return &c.Drift }, plain("a command", "./deploy.sh drift"), "Prints what is not as it was deployed, a line each."),
		at("timeout", func(c *CommandDriver) *time.Duration { return &c.Timeout }, duration(), "How long one of them may take.").or("30m"),
	)
}

func hosts() kind[[]string] {
	return list("hosts", maxWords, plain("the name of a host", "shop.example"))
}

// namespace is a namespace of a cluster, with what stands for names in it.
func namespace() kind[string] {
	s := &schema{words: "a namespace", way: "write small letters, digits and -, such as shop-{{environment}}", Type: one("string"),
		Pattern: `^([a-z0-9-]|\{\{(environment|service)\}\})+$`, Examples: []any{"shop-{{environment}}"}}
	return matching(s, "is no namespace")
}

// listen is an address at which connections are taken.
func listen() kind[string] {
	s := &schema{words: "an address", way: "write host:port, such as :8080 or 127.0.0.1:8443", Type: one("string"), Pattern: `^[^/\s]*:[0-9]{1,5}$`, Examples: []any{":8080"}}
	return matching(s, "is no address to listen at")
}
