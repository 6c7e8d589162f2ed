package project

import (
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Service is an entry of the section services: something that is deployed. Exactly
// one of the drivers' sections is set. As JSON it is the specification that is
// part of a release, so names of fields are kept.
type Service struct {
	Name         string            `json:"name"`
	Environments []string          `json:"environments,omitempty"` // where it goes; none: everywhere
	Artifact     Artifact          `json:"artifact"`
	Strategy     Strategy          `json:"strategy"`
	Instances    int               `json:"instances,omitempty"` // 0 is 1
	InstancesIn  map[string]int    `json:"instances_in,omitempty"`
	Variables    map[string]string `json:"variables,omitempty"`
	Checks       []plan.Check      `json:"checks,omitempty"`
	Analysis     *plan.Analysis    `json:"analysis,omitempty"`
	Migrations   []plan.Migration  `json:"migrations,omitempty"`
	Runbook      string            `json:"runbook,omitempty"`
	Team         string            `json:"team,omitempty"`

	Process        *Process        `json:"process,omitempty"`
	Docker         *Docker         `json:"docker,omitempty"`
	Kubernetes     *Kubernetes     `json:"kubernetes,omitempty"`
	SSH            *SSH            `json:"ssh,omitempty"`
	Terraform      *Terraform      `json:"terraform,omitempty"`
	Ansible        *Ansible        `json:"ansible,omitempty"`
	CloudFormation *CloudFormation `json:"cloudformation,omitempty"`
	Command        *CommandDriver  `json:"command,omitempty"`

	Source plan.Source `json:"-"`
}

// Driver is the name of the driver that the service has, which is that of its section.
func (s *Service) Driver() string {
	switch {
	case s.Process != nil:
		return "process"
	case s.Docker != nil:
		return "docker"
	case s.Kubernetes != nil:
		return "kubernetes"
	case s.SSH != nil:
		return "ssh"
	case s.Terraform != nil:
		return "terraform"
	case s.Ansible != nil:
		return "ansible"
	case s.CloudFormation != nil:
		return "cloudformation"
	case s.Command != nil:
		return "command"
	}
	return ""
}

// In is how many instances the service has in an environment.
func (s *Service) In(environment string) int {
	if n := s.InstancesIn[environment]; n > 0 {
		return n
	}
	return max(s.Instances, 1)
}

// Artifact is what a release of a service is made of. One of Path and Image is set,
// or neither: then the files of the driver's section are all.
type Artifact struct {
	Path  string `json:"path,omitempty"`  // a file or a directory of the tree
	Build string `json:"build,omitempty"` // a command that makes it, run by sh
	Image string `json:"image,omitempty"` // a reference without a tag; what is deployed is a digest
}

// Strategy is how a service goes from one release to the next.
type Strategy struct {
	Kind     string        `json:"kind,omitempty"`  // "rolling", "blue-green", "canary", "recreate"; "" is by the driver
	Steps    []int         `json:"steps,omitempty"` // canary: percentages
	Batch    int           `json:"batch,omitempty"` // rolling: instances at a time
	Hold     time.Duration `json:"hold,omitempty"`  // after each step
	Bake     time.Duration `json:"bake,omitempty"`  // after the last one
	KeepOld  time.Duration `json:"keep_old,omitempty"`
	Deadline time.Duration `json:"deadline,omitempty"` // of one move
	Promote  string        `json:"promote,omitempty"`  // "by hand" holds before the last step until somebody says so
	Source   plan.Source   `json:"-"`
}

// The strategies.
const (
	Rolling   = "rolling"
	BlueGreen = "blue-green"
	Canary    = "canary"
	Recreate  = "recreate"
)

// DeployEnvironment is an entry of the section environments: where services go, in
// the order in which a release goes through them.
type DeployEnvironment struct {
	Name      string
	Order     int // on a release's way, from 1
	URL       string
	Gate      plan.DeployGate
	Branches  []string
	Variables map[string]string
	Secrets   map[string]string // variable -> name of a secret
	// Preview makes the environment a pattern: one for each pull request, gone after
	// Expires.
	Preview bool
	Expires time.Duration
	// Drift is how often it is looked for drift; zero: only by hand.
	Drift  time.Duration
	Heal   bool // put right what has drifted
	Source plan.Source
}
