package testrun

import (
	"fmt"
	"strconv"
	"strings"
)

// Shard is one of several machines among which tests are shared out.
type Shard struct {
	Index int    // from 0
	Total int    // at least 1
	From  string // what says so, for people: "CI_NODE_INDEX"
}

// maxShards is how many machines tests are shared out among at most.
const maxShards = 10_000

// shardVariables are those by which CI systems tell a job which of several it is.
var shardVariables = []struct {
	index, total string
	first        int    // what the first shard is called
	when         string // only where this variable is set, too
}{
	{"CIRCLE_NODE_INDEX", "CIRCLE_NODE_TOTAL", 0, ""},
	{"BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT", 0, ""},
	{"BITBUCKET_PARALLEL_STEP", "BITBUCKET_PARALLEL_STEP_COUNT", 0, ""},
	{"SEMAPHORE_JOB_INDEX", "SEMAPHORE_JOB_COUNT", 1, ""},
	{"SYSTEM_JOBPOSITIONINPHASE", "SYSTEM_TOTALJOBSINPHASE", 1, ""}, // Azure Pipelines
	// GitHub sets none: people set these, from strategy.job-index, which counts from 0.
	{"CI_NODE_INDEX", "CI_NODE_TOTAL", 0, "GITHUB_ACTIONS"},
	{"CI_NODE_INDEX", "CI_NODE_TOTAL", 1, ""}, // GitLab
}

// ShardOf is the shard that a CI system says this machine is. ok is false when none
// does: both variables must be there. The error says which of them makes no sense.
func ShardOf(getenv func(string) string) (s Shard, ok bool, err error) {
	for _, v := range shardVariables {
		index, total := getenv(v.index), getenv(v.total)
		if index == "" || total == "" || v.when != "" && getenv(v.when) == "" {
			continue
		}
		i, err := strconv.Atoi(strings.TrimSpace(index))
		if err != nil {
			return s, false, fmt.Errorf("%s=%q is no number", v.index, index)
		}
		n, err := strconv.Atoi(strings.TrimSpace(total))
		if err != nil {
			return s, false, fmt.Errorf("%s=%q is no number", v.total, total)
		}
		s = Shard{Index: i - v.first, Total: n, From: v.index}
		return s, true, s.check(v.first)
	}
	return s, false, nil
}

// NewShard is shard index of total, counted from 1 as people do.
func NewShard(index, total int) (Shard, error) {
	s := Shard{Index: index - 1, Total: total}
	return s, s.check(1)
}

func (s Shard) check(first int) error {
	switch {
	case s.Total < 1 || s.Total > maxShards:
		return fmt.Errorf("%d shards: there are 1 to %d", s.Total, maxShards)
	case s.Index < 0 || s.Index >= s.Total:
		return fmt.Errorf("shard %d of %d: shards are counted from %d to %d", s.Index+first, s.Total, first, s.Total-1+first)
	}
	return nil
}

// String is the shard for people: "2 of 4".
func (s Shard) String() string { return fmt.Sprintf("%d of %d", s.Index+1, s.Total) }
