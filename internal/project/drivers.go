package project

import "time"

// Process is how a service runs as processes of this host, behind the front proxy.
type Process struct {
	Command []string      `json:"command"` // argv; its directory is the release's; $PORT is where it listens
	Hosts   []string      `json:"hosts,omitempty"`
	Prefix  string        `json:"prefix,omitempty"`
	Listen  string        `json:"listen,omitempty"` // address of the front proxy, ":8080"
	TLSCert string        `json:"tls_cert,omitempty"`
	TLSKey  string        `json:"tls_key,omitempty"`
	Sticky  string        `json:"sticky,omitempty"` // "cookie", or the name of a header
	Ready   string        `json:"ready,omitempty"`  // path that answers 2xx when it is ready; "": the port is open
	Stop    time.Duration `json:"stop,omitempty"`   // between TERM and KILL
	Drain   time.Duration `json:"drain,omitempty"`  // how long requests may take to end
	User    string        `json:"user,omitempty"`
	Memory  int64         `json:"memory,omitempty"` // bytes
	Systemd bool          `json:"systemd,omitempty"`
	// Directory is where the host keeps releases and state; "" is the host's own.
	Directory string `json:"directory,omitempty"`
}

// Docker is how a service runs as containers, behind the front proxy.
type Docker struct {
	Host    string        `json:"host,omitempty"` // of the engine; "" is the usual one
	Port    int           `json:"port"`           // in the container
	Command []string      `json:"command,omitempty"`
	Options string        `json:"options,omitempty"`
	Hosts   []string      `json:"hosts,omitempty"`
	Prefix  string        `json:"prefix,omitempty"`
	Listen  string        `json:"listen,omitempty"`
	Sticky  string        `json:"sticky,omitempty"`
	Ready   string        `json:"ready,omitempty"`
	Stop    time.Duration `json:"stop,omitempty"`
	Drain   time.Duration `json:"drain,omitempty"`
	Volumes []string      `json:"volumes,omitempty"`
	Network string        `json:"network,omitempty"`
}

// Kubernetes is how a service runs in a cluster.
type Kubernetes struct {
	Manifests []string `json:"manifests,omitempty"` // files or directories
	Kustomize string   `json:"kustomize,omitempty"` // a directory
	Helm      string   `json:"helm,omitempty"`      // a chart's directory
	Values    []string `json:"values,omitempty"`
	Context   string   `json:"context,omitempty"`
	Namespace string   `json:"namespace,omitempty"`
	Container string   `json:"container,omitempty"` // that gets the image; "" for the only one
	Route     string   `json:"route,omitempty"`     // an HTTPRoute whose weights are set; "" for none
	Prune     bool     `json:"prune,omitempty"`
}

// SSH is how a service runs as processes of other hosts.
type SSH struct {
	Machines []string `json:"machines"` // user@host:port
	Identity string   `json:"identity,omitempty"`
	Known    string   `json:"known_hosts,omitempty"`
	Process  Process  `json:"process"`
}

// Terraform is infrastructure that Terraform or OpenTofu applies.
type Terraform struct {
	Directory string            `json:"directory"`
	Binary    string            `json:"binary,omitempty"`
	Workspace string            `json:"workspace,omitempty"`
	VarFiles  []string          `json:"var_files,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
}

// Ansible is machines that a playbook sets up.
type Ansible struct {
	Playbook  string            `json:"playbook"`
	Inventory string            `json:"inventory,omitempty"`
	Limit     string            `json:"limit,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
}

// CloudFormation is a stack.
type CloudFormation struct {
	Template     string            `json:"template"`
	Stack        string            `json:"stack"`
	Region       string            `json:"region,omitempty"`
	Endpoint     string            `json:"endpoint,omitempty"`
	Parameters   map[string]string `json:"parameters,omitempty"`
	Capabilities []string          `json:"capabilities,omitempty"`
}

// CommandDriver is what the team's own commands move.
type CommandDriver struct {
	Apply    string        `json:"apply"`
	Observe  string        `json:"observe,omitempty"`
	Rollback string        `json:"rollback,omitempty"`
	Probe    string        `json:"probe,omitempty"`
	Plan     string        `json:"plan,omitempty"`
	Drift    string        `json:"drift,omitempty"`
	Timeout  time.Duration `json:"timeout,omitempty"`
}
