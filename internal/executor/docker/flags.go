package docker

import (
	"encoding/csv"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// settings are what a container is made from: the plan's fields, and the flags
// of docker create that a person wrote into its options, which come after and
// win.
type settings struct {
	config   container.Config
	host     container.HostConfig
	network  string   // of the user's choosing
	aliases  []string // further names in the job's network
	platform string
	pull     plan.Pull
	health   container.HealthConfig
	tested   bool // health is given
	volumes  []volume
}

// volume is something of the user's that is mounted: a directory of this
// machine's, or, with source "", what only the daemon knows the place of.
type volume struct{ source, target string }

// flag is one flag of docker create: set takes a value, on an absent one.
type flag struct {
	set func(s *settings, value string) error
	on  func(s *settings, on bool)
}

// settle reads the plan's container. The problem names the flag that cannot be
// read, or is not known.
func settle(c *plan.Container) (*settings, *plan.Problem) {
	s := &settings{pull: c.Pull, config: container.Config{User: c.User}}
	flags := flags()
	wrong := func(hint, format string, args ...any) *plan.Problem {
		return &plan.Problem{Source: c.Source, Severity: plan.Error, Rule: "container", Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		s.config.Env = append(s.config.Env, name+"="+c.Env[name])
	}
	for _, v := range c.Volumes {
		if err := flags["volume"].set(s, v); err != nil {
			return nil, wrong("a volume is name:/path, /here:/there or /path, with :ro behind if nothing may be changed there", "the volume %q: %v", v, err)
		}
	}
	for _, p := range c.Ports {
		if err := flags["publish"].set(s, p); err != nil {
			return nil, wrong("a port is 5432, or 8080:80, or 8080:80/udp", "the port %q: %v", p, err)
		}
	}
	words := plan.Words(c.Options)
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		name, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case !strings.HasPrefix(word, "-"):
			return nil, wrong("options hold flags of `docker create` only", "%q in the options is no flag", word)
		case !strings.HasPrefix(word, "--"):
			if name = ""; len(word) > 1 {
				name = short[word[1:2]]
			}
			if name == "" {
				return nil, wrong(known, "the option %s is not known", word)
			}
			rest := word[2:]
			value, given = strings.TrimPrefix(rest, "="), rest != ""
			if flags[name].on != nil && given && rest[0] != '=' { // -it
				words, given = append([]string{"-" + rest}, words...), false
			}
		}
		f, ok := flags[name]
		if !ok {
			return nil, wrong(known, "the option --%s is not known", name)
		}
		if f.on != nil {
			on := true
			if given {
				var err error
				if on, err = strconv.ParseBool(value); err != nil {
					return nil, wrong("it is true or false", "the option --%s=%s: that is no value of it", name, value)
				}
			}
			f.on(s, on)
			continue
		}
		if !given {
			if len(words) == 0 {
				return nil, wrong("give it one behind a blank or =", "the option --%s has no value", name)
			}
			value, words = words[0], words[1:]
		}
		if err := f.set(s, value); err != nil {
			return nil, wrong("see the reference of `docker create` for what it takes", "the option --%s %q: %v", name, value, err)
		}
	}
	if s.tested {
		s.config.Healthcheck = &s.health
	}
	if c.Pull != "" {
		s.pull = c.Pull
	}
	return s, nil
}

const known = "Fairlead knows the flags of `docker create` that make sense for a job: --user, --env, --volume, --publish, --health-*, --memory, --cpus, --network, --cap-add and their like"

// short are the flags with one letter.
var short = map[string]string{
	"e": "env", "h": "hostname", "l": "label", "m": "memory", "p": "publish", "P": "publish-all", "u": "user", "v": "volume", "w": "workdir", "c": "cpu-shares",
	"t": "tty", "i": "interactive", "d": "detach",
}

// flags are those that are known, by name.
func flags() map[string]flag {
	text := func(at func(*settings) *string) flag {
		return flag{set: func(s *settings, v string) error { *at(s) = v; return nil }}
	}
	list := func(at func(*settings) *[]string) flag {
		return flag{set: func(s *settings, v string) error { *at(s) = append(*at(s), v); return nil }}
	}
	number := func(at func(*settings) *int64) flag {
		return flag{set: func(s *settings, v string) (err error) { *at(s), err = strconv.ParseInt(v, 10, 64); return err }}
	}
	size := func(at func(*settings) *int64) flag {
		return flag{set: func(s *settings, v string) (err error) { *at(s), err = bytesOf(v); return err }}
	}
	pause := func(at func(*settings) *time.Duration) flag {
		return flag{set: func(s *settings, v string) (err error) {
			s.tested = true
			*at(s), err = time.ParseDuration(v)
			return err
		}}
	}
	yes := func(at func(*settings) *bool) flag {
		return flag{on: func(s *settings, on bool) { *at(s) = on }}
	}
	pairs := func(at func(*settings) *map[string]string) flag {
		return flag{set: func(s *settings, v string) error {
			m := at(s)
			if *m == nil {
				*m = map[string]string{}
			}
			name, value, _ := strings.Cut(v, "=")
			(*m)[name] = value
			return nil
		}}
	}
	ignored := flag{on: func(*settings, bool) {}}
	f := map[string]flag{
		"user":          text(func(s *settings) *string { return &s.config.User }),
		"hostname":      text(func(s *settings) *string { return &s.config.Hostname }),
		"workdir":       text(func(s *settings) *string { return &s.config.WorkingDir }),
		"platform":      text(func(s *settings) *string { return &s.platform }),
		"runtime":       text(func(s *settings) *string { return &s.host.Runtime }),
		"pid":           text(func(s *settings) *string { return (*string)(&s.host.PidMode) }),
		"ipc":           text(func(s *settings) *string { return (*string)(&s.host.IpcMode) }),
		"uts":           text(func(s *settings) *string { return (*string)(&s.host.UTSMode) }),
		"userns":        text(func(s *settings) *string { return (*string)(&s.host.UsernsMode) }),
		"cgroupns":      text(func(s *settings) *string { return (*string)(&s.host.CgroupnsMode) }),
		"stop-signal":   text(func(s *settings) *string { return &s.config.StopSignal }),
		"cpuset-cpus":   text(func(s *settings) *string { return &s.host.CpusetCpus }),
		"cpuset-mems":   text(func(s *settings) *string { return &s.host.CpusetMems }),
		"cgroup-parent": text(func(s *settings) *string { return &s.host.CgroupParent }),

		"network-alias": list(func(s *settings) *[]string { return &s.aliases }),
		"env":           {set: setEnv},
		"cap-add":       list(func(s *settings) *[]string { return &s.host.CapAdd }),
		"cap-drop":      list(func(s *settings) *[]string { return &s.host.CapDrop }),
		"security-opt":  list(func(s *settings) *[]string { return &s.host.SecurityOpt }),
		"add-host":      list(func(s *settings) *[]string { return &s.host.ExtraHosts }),
		"group-add":     list(func(s *settings) *[]string { return &s.host.GroupAdd }),
		"dns-search":    list(func(s *settings) *[]string { return &s.host.DNSSearch }),
		"dns-option":    list(func(s *settings) *[]string { return &s.host.DNSOptions }),
		"volumes-from":  list(func(s *settings) *[]string { return &s.host.VolumesFrom }),

		"label":       pairs(func(s *settings) *map[string]string { return &s.config.Labels }),
		"sysctl":      pairs(func(s *settings) *map[string]string { return &s.host.Sysctls }),
		"storage-opt": pairs(func(s *settings) *map[string]string { return &s.host.StorageOpt }),

		"memory":             size(func(s *settings) *int64 { return &s.host.Memory }),
		"memory-swap":        size(func(s *settings) *int64 { return &s.host.MemorySwap }),
		"memory-reservation": size(func(s *settings) *int64 { return &s.host.MemoryReservation }),
		"shm-size":           size(func(s *settings) *int64 { return &s.host.ShmSize }),
		"cpu-shares":         number(func(s *settings) *int64 { return &s.host.CPUShares }),
		"cpu-period":         number(func(s *settings) *int64 { return &s.host.CPUPeriod }),
		"cpu-quota":          number(func(s *settings) *int64 { return &s.host.CPUQuota }),

		"privileged":  yes(func(s *settings) *bool { return &s.host.Privileged }),
		"read-only":   yes(func(s *settings) *bool { return &s.host.ReadonlyRootfs }),
		"publish-all": yes(func(s *settings) *bool { return &s.host.PublishAllPorts }),
		"init":        {on: func(s *settings, on bool) { s.host.Init = &on }},

		"health-interval":     pause(func(s *settings) *time.Duration { return &s.health.Interval }),
		"health-timeout":      pause(func(s *settings) *time.Duration { return &s.health.Timeout }),
		"health-start-period": pause(func(s *settings) *time.Duration { return &s.health.StartPeriod }),
		"health-cmd": {set: func(s *settings, v string) error {
			s.tested, s.health.Test = true, []string{"CMD-SHELL", v}
			return nil
		}},
		"health-retries": {set: func(s *settings, v string) (err error) {
			s.tested = true
			s.health.Retries, err = strconv.Atoi(v)
			return err
		}},
		"no-healthcheck": {on: func(s *settings, on bool) {
			if on {
				s.tested, s.health.Test = true, []string{"NONE"}
			}
		}},

		"cpus": {set: func(s *settings, v string) error {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil || n < 0 || n > 1e6 {
				return fmt.Errorf("that is no number of processors")
			}
			s.host.NanoCPUs = int64(n * 1e9)
			return nil
		}},
		"pids-limit": {set: func(s *settings, v string) error {
			n, err := strconv.ParseInt(v, 10, 64)
			s.host.PidsLimit = &n
			return err
		}},
		"oom-score-adj": {set: func(s *settings, v string) (err error) { s.host.OomScoreAdj, err = strconv.Atoi(v); return err }},
		"stop-timeout": {set: func(s *settings, v string) error {
			n, err := strconv.Atoi(v)
			s.config.StopTimeout = &n
			return err
		}},
		"dns": {set: func(s *settings, v string) error {
			a, err := netip.ParseAddr(v)
			s.host.DNS = append(s.host.DNS, a)
			return err
		}},
		"network": {set: setNetwork},
		"tmpfs": {set: func(s *settings, v string) error {
			at, opts, _ := strings.Cut(v, ":")
			if s.host.Tmpfs == nil {
				s.host.Tmpfs = map[string]string{}
			}
			s.host.Tmpfs[at] = opts
			s.volumes = append(s.volumes, volume{target: path.Clean(at)})
			return nil
		}},
		"ulimit":     {set: setUlimit},
		"device":     {set: setDevice},
		"gpus":       {set: setGPUs},
		"volume":     {set: setVolume},
		"mount":      {set: setMount},
		"publish":    {set: setPort},
		"expose":     {set: setExposed},
		"entrypoint": {set: func(s *settings, v string) error { s.config.Entrypoint = []string{v}; return nil }},
		"pull": {set: func(s *settings, v string) error {
			p, ok := map[string]plan.Pull{"always": plan.PullAlways, "never": plan.PullNever, "missing": plan.PullMissing}[v]
			if !ok {
				return fmt.Errorf("it is always, missing or never")
			}
			s.pull = p
			return nil
		}},

		// What a job's container is in any case, or cannot be.
		"detach": ignored, "rm": ignored, "tty": ignored, "interactive": ignored,
		"restart": {set: func(*settings, string) error { return nil }},
		"name":    {set: func(*settings, string) error { return nil }},
	}
	f["net"], f["net-alias"] = f["network"], f["network-alias"]
	return f
}

func setEnv(s *settings, v string) error {
	name, _, given := strings.Cut(v, "=")
	if name == "" {
		return fmt.Errorf("a variable has a name")
	}
	if !given {
		return fmt.Errorf("the value of a variable of Fairlead's own environment is not passed on: write %s=value", name)
	}
	s.config.Env = append(slices.DeleteFunc(s.config.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") }), v)
	return nil
}

func setNetwork(s *settings, v string) error {
	if !strings.Contains(v, "=") {
		s.network = v
		return nil
	}
	for part := range strings.SplitSeq(v, ",") {
		switch key, value, _ := strings.Cut(part, "="); key {
		case "name":
			s.network = value
		case "alias":
			s.aliases = append(s.aliases, value)
		default:
			return fmt.Errorf("%s is not known", key)
		}
	}
	return nil
}

// bytesOf reads a size: 512m, 2g, 1024, -1.
func bytesOf(text string) (int64, error) {
	digits := strings.TrimRight(strings.ToLower(text), "bkmgti")
	unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(text[len(digits):]), "b"), "i")
	shift, ok := map[string]int{"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[unit]
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || n > 1<<62/float64(int64(1)<<shift) {
		return 0, fmt.Errorf("that is no size, such as 512m or 2g")
	}
	return int64(n * float64(int64(1)<<shift)), nil
}

func setUlimit(s *settings, v string) error {
	name, value, ok := strings.Cut(v, "=")
	soft, hard, both := strings.Cut(value, ":")
	if !both {
		hard = soft
	}
	a, err := strconv.ParseInt(soft, 10, 64)
	b, err2 := strconv.ParseInt(hard, 10, 64)
	if !ok || err != nil || err2 != nil {
		return fmt.Errorf("a limit is name=number or name=soft:hard")
	}
	s.host.Ulimits = append(s.host.Ulimits, &container.Ulimit{Name: name, Soft: a, Hard: b})
	return nil
}

func setDevice(s *settings, v string) error {
	p := strings.Split(v, ":")
	d := container.DeviceMapping{PathOnHost: p[0], PathInContainer: p[0], CgroupPermissions: "rwm"}
	switch {
	case len(p) == 2 && strings.HasPrefix(p[1], "/"), len(p) == 3:
		d.PathInContainer = p[1]
	case len(p) == 2:
		d.CgroupPermissions = p[1]
	}
	if len(p) == 3 {
		d.CgroupPermissions = p[2]
	}
	if len(p) > 3 || !path.IsAbs(d.PathOnHost) {
		return fmt.Errorf("a device is /dev/here, or /dev/here:/dev/there:rwm")
	}
	s.host.Devices = append(s.host.Devices, d)
	return nil
}

func setGPUs(s *settings, v string) error {
	r := container.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}
	if v != "all" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("it is all, or a number")
		}
		r.Count = n
	}
	s.host.DeviceRequests = append(s.host.DeviceRequests, r)
	return nil
}

// setVolume reads name:/path, /here:/there, /path, with options behind.
func setVolume(s *settings, v string) error {
	p := strings.Split(v, ":")
	switch {
	case len(p) > 3:
		return fmt.Errorf("it has more than three parts")
	case len(p) == 1:
		if !path.IsAbs(v) {
			return fmt.Errorf("its path in the container is not absolute")
		}
		if s.config.Volumes == nil {
			s.config.Volumes = map[string]struct{}{}
		}
		s.config.Volumes[path.Clean(v)] = struct{}{}
		s.volumes = append(s.volumes, volume{target: path.Clean(v)})
		return nil
	case !path.IsAbs(p[1]):
		return fmt.Errorf("its path in the container is not absolute")
	case p[0] == "":
		return fmt.Errorf("it does not say what to mount")
	}
	if len(p) == 3 {
		for opt := range strings.SplitSeq(p[2], ",") {
			switch opt {
			case "ro", "rw", "z", "Z", "cached", "delegated", "consistent", "nocopy", "":
			default:
				return fmt.Errorf("its option %s is not known", opt)
			}
		}
	}
	m := volume{target: path.Clean(p[1])}
	if path.IsAbs(p[0]) {
		m.source = path.Clean(p[0])
	}
	s.volumes = append(s.volumes, m)
	s.host.Binds = append(s.host.Binds, v)
	return nil
}

func setMount(s *settings, v string) error {
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return err
	}
	m := mount.Mount{Type: mount.TypeVolume}
	for _, f := range fields {
		key, value, given := strings.Cut(f, "=")
		switch key {
		case "type":
			m.Type = mount.Type(value)
		case "source", "src":
			m.Source = value
		case "target", "dst", "destination":
			m.Target = value
		case "readonly", "ro":
			m.ReadOnly = !given || value == "true" || value == "1"
		case "tmpfs-size":
			n, err := bytesOf(value)
			if err != nil {
				return err
			}
			m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: n}
		default:
			return fmt.Errorf("%s is not known", key)
		}
	}
	if !path.IsAbs(m.Target) {
		return fmt.Errorf("its target is not absolute")
	}
	s.host.Mounts = append(s.host.Mounts, m)
	if m.Type != mount.TypeBind {
		m.Source = ""
	}
	s.volumes = append(s.volumes, volume{m.Source, path.Clean(m.Target)})
	return nil
}

// local is where ports are published when nobody says otherwise: on a
// developer's machine the whole network need not see the test database.
var local = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// setPort reads 80, 8080:80, 127.0.0.1:8080:80, each with /udp behind.
func setPort(s *settings, v string) error {
	rest, proto, _ := strings.Cut(v, "/")
	at, on := local, ""
	inside := rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		on, inside = rest[:i], rest[i+1:]
		if j := strings.LastIndexByte(on, ':'); j >= 0 {
			a, err := netip.ParseAddr(strings.Trim(on[:j], "[]"))
			if err != nil {
				return fmt.Errorf("%s is no address", on[:j])
			}
			at, on = a, on[j+1:]
		}
	}
	if proto != "" {
		inside += "/" + proto
	}
	in, err := network.ParsePortRange(inside)
	if err != nil {
		return err
	}
	var out network.PortRange
	if on != "" {
		if out, err = network.ParsePortRange(on); err != nil {
			return err
		}
		if out.End()-out.Start() != in.End()-in.Start() {
			return fmt.Errorf("the two ranges are of different lengths")
		}
	}
	if s.host.PortBindings == nil {
		s.host.PortBindings = network.PortMap{}
		s.config.ExposedPorts = network.PortSet{}
	}
	i := uint16(0)
	for p := range in.All() {
		b := network.PortBinding{HostIP: at}
		if on != "" {
			b.HostPort = strconv.Itoa(int(out.Start() + i))
		}
		s.host.PortBindings[p] = append(s.host.PortBindings[p], b)
		s.config.ExposedPorts[p] = struct{}{}
		i++
	}
	return nil
}

func setExposed(s *settings, v string) error {
	r, err := network.ParsePortRange(v)
	if err != nil {
		return err
	}
	if s.config.ExposedPorts == nil {
		s.config.ExposedPorts = network.PortSet{}
	}
	for p := range r.All() {
		s.config.ExposedPorts[p] = struct{}{}
	}
	return nil
}
