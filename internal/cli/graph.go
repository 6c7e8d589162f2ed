package cli

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// The drawing of a pipeline's jobs, top to bottom.
//
// Jobs that need the same and are needed by the same stand in one box, a line
// each: that is what keeps fifty jobs readable. Boxes are put into layers by
// their longest way from the top; an edge that passes a layer gets a place of
// its own there (a ghost). Layers are put into an order with few crossings by
// barycentres, and edges run in the channel between two layers: down from the
// box, along a track that no other net uses there, down to the next.

// graphJob is a job to be drawn.
type graphJob struct {
	ID, Label string
	Needs     []string
}

// gnode is a box, or a ghost: the place of an edge that passes a layer.
type gnode struct {
	lines    []string
	layer    int
	w, x     int // columns
	up, down []*gnode
	order    float64
	in, out  int // columns where edges arrive and leave
}

// ghost nodes have no lines.
func (n *gnode) ghost() bool { return len(n.lines) == 0 }

const (
	maxGraphLabel = 36
	graphGap      = 2
)

// drawGraph draws the jobs in at most so many columns, or returns "" when they
// do not fit.
func drawGraph(jobs []graphJob, columns int, s style) string {
	layers := layered(boxes(jobs, s))
	if len(layers) == 0 {
		return ""
	}
	order(layers)
	total := place(layers)
	if total > columns {
		return ""
	}
	return render(layers, total, s)
}

// boxes makes a box of the jobs that have the same neighbours.
func boxes(jobs []graphJob, s style) []*gnode {
	index := make(map[string]int, len(jobs))
	for i, j := range jobs {
		index[j.ID] = i
	}
	needs := reduced(jobs, index)
	users := make([][]int, len(jobs))
	for i, list := range needs {
		for _, n := range list {
			users[n] = append(users[n], i)
		}
	}
	key := func(i int) string {
		var b strings.Builder
		for _, list := range [][]int{needs[i], users[i]} {
			list = slices.Sorted(slices.Values(list))
			for _, n := range list {
				b.WriteString(strconv.Itoa(n) + ",")
			}
			b.WriteByte('|')
		}
		return b.String()
	}
	of := make([]*gnode, len(jobs))
	byKey := map[string]*gnode{}
	var nodes []*gnode
	for i, j := range jobs {
		k := key(i)
		n := byKey[k]
		if n == nil {
			n = &gnode{}
			byKey[k] = n
			nodes = append(nodes, n)
		}
		n.lines = append(n.lines, clip(shown(j.Label), maxGraphLabel, s.ellipsis()))
		of[i] = n
	}
	for i := range jobs {
		for _, need := range needs[i] {
			if !slices.Contains(of[i].up, of[need]) {
				of[i].up = append(of[i].up, of[need])
				of[need].down = append(of[need].down, of[i])
			}
		}
	}
	for _, n := range nodes {
		for _, l := range n.lines {
			n.w = max(n.w, width(l)+4)
		}
	}
	return nodes
}

// reduced are the needs of each job, by index, without those that follow from
// others: when c needs b and b needs a, that c needs a is not drawn. Needs that
// lead round in a circle (which the dialect has refused) are left out.
func reduced(jobs []graphJob, index map[string]int) [][]int {
	direct := make([][]int, len(jobs))
	above := make([]map[int]bool, len(jobs)) // all ancestors
	state := make([]int, len(jobs))          // 1: being visited, 2: done
	var visit func(i int)
	visit = func(i int) {
		state[i] = 1
		above[i] = map[int]bool{}
		for _, id := range jobs[i].Needs {
			n, ok := index[id]
			if !ok || state[n] == 1 || slices.Contains(direct[i], n) {
				continue
			}
			if state[n] == 0 {
				visit(n)
			}
			direct[i] = append(direct[i], n)
			above[i][n] = true
			for a := range above[n] {
				above[i][a] = true
			}
		}
		state[i] = 2
	}
	for i := range jobs {
		if state[i] == 0 {
			visit(i)
		}
	}
	for i := range direct {
		list := direct[i]
		direct[i] = slices.DeleteFunc(slices.Clone(list), func(n int) bool {
			return slices.ContainsFunc(list, func(m int) bool { return m != n && above[m][n] })
		})
	}
	return direct
}

// layered puts each box below all that it needs, and ghosts into the layers
// that edges pass.
func layered(nodes []*gnode) [][]*gnode {
	seen := map[*gnode]bool{}
	var rank func(n *gnode) int
	rank = func(n *gnode) int {
		if seen[n] {
			return n.layer
		}
		seen[n] = true
		for _, u := range n.up {
			n.layer = max(n.layer, rank(u)+1)
		}
		return n.layer
	}
	var layers [][]*gnode
	put := func(n *gnode) {
		for len(layers) <= n.layer {
			layers = append(layers, nil)
		}
		layers[n.layer] = append(layers[n.layer], n)
	}
	for _, n := range nodes {
		rank(n)
		put(n)
	}
	for _, n := range nodes {
		for _, d := range slices.Clone(n.down) {
			last := n
			for l := n.layer + 1; l < d.layer; l++ {
				g := &gnode{layer: l, w: 1, up: []*gnode{last}, down: []*gnode{d}}
				replace(last.down, d, g)
				replace(d.up, last, g)
				put(g)
				last = g
			}
		}
	}
	return layers
}

func replace(list []*gnode, old, by *gnode) {
	if i := slices.Index(list, old); i >= 0 {
		list[i] = by
	}
}

// order sorts every layer by the places of the neighbours, downwards and
// upwards in turn.
func order(layers [][]*gnode) {
	number := func(layer []*gnode) {
		for i, n := range layer {
			n.order = float64(i)
		}
	}
	for _, l := range layers {
		number(l)
	}
	sortBy := func(layer []*gnode, near func(*gnode) []*gnode) {
		at := make(map[*gnode]float64, len(layer))
		for _, n := range layer {
			at[n] = n.order
			if list := near(n); len(list) > 0 {
				sum := 0.0
				for _, m := range list {
					sum += m.order
				}
				at[n] = sum / float64(len(list))
			}
		}
		slices.SortStableFunc(layer, func(a, b *gnode) int { return cmp.Compare(at[a], at[b]) })
		number(layer)
	}
	for range 4 {
		for _, l := range layers[1:] {
			sortBy(l, func(n *gnode) []*gnode { return n.up })
		}
		for i := len(layers) - 2; i >= 0; i-- {
			sortBy(layers[i], func(n *gnode) []*gnode { return n.down })
		}
	}
}

// place gives every box its columns and returns how many there are in all.
// Boxes are drawn to the middle of their neighbours as far as there is room.
func place(layers [][]*gnode) (total int) {
	for _, l := range layers {
		x := 0
		for _, n := range l {
			n.x = x
			x += n.w + graphGap
		}
	}
	wish := func(n *gnode, near []*gnode) int {
		sum := 0
		for _, m := range near {
			sum += m.x + m.w/2
		}
		return sum/len(near) - n.w/2
	}
	pull := func(l []*gnode, near func(*gnode) []*gnode) {
		want := make([]int, len(l))
		for i, n := range l {
			want[i] = n.x
			if m := near(n); len(m) > 0 {
				want[i] = wish(n, m)
			}
		}
		// Boxes that want the same columns are moved as one block, to the
		// place that is best for all of them.
		type block struct{ from, to, sum, w int }
		var blocks []block
		for i, n := range l {
			b := block{from: i, to: i + 1, sum: want[i], w: n.w + graphGap}
			for len(blocks) > 0 {
				p := blocks[len(blocks)-1]
				if p.sum/(p.to-p.from)+p.w <= b.sum/(b.to-b.from) {
					break
				}
				b = block{from: p.from, to: b.to, sum: p.sum + b.sum - (b.to-b.from)*p.w, w: p.w + b.w}
				blocks = blocks[:len(blocks)-1]
			}
			blocks = append(blocks, b)
		}
		end := 0
		for _, b := range blocks {
			x := max(b.sum/(b.to-b.from), end)
			for _, n := range l[b.from:b.to] {
				n.x = x
				x += n.w + graphGap
			}
			end = x
		}
	}
	for range 6 {
		for i := len(layers) - 2; i >= 0; i-- {
			pull(layers[i], func(n *gnode) []*gnode { return n.down })
		}
		for _, l := range layers[1:] {
			pull(l, func(n *gnode) []*gnode { return n.up })
		}
	}
	least := layers[0][0].x
	for _, l := range layers {
		for _, n := range l {
			least = min(least, n.x)
		}
	}
	for _, l := range layers {
		for _, n := range l {
			n.x -= least
			total = max(total, n.x+n.w)
		}
	}
	for i := range layers {
		ports(layers, i)
	}
	return total
}

// ports chooses where the edges of a layer arrive and leave: in the middle, or
// where they come down straight. No edge leaves above the place where one
// that it has nothing to do with arrives: they would lie on each other.
func ports(layers [][]*gnode, i int) {
	for _, n := range layers[i] {
		n.in, n.out = n.x+n.w/2, n.x+n.w/2
		if len(n.up) == 1 && n.inside(n.up[0].out) {
			n.in = n.up[0].out
		}
		if len(n.down) == 1 && n.down[0].ghost() && n.inside(n.down[0].x) {
			n.out = n.down[0].x
		}
	}
	if i == 0 {
		return
	}
	taken := map[int]*gnode{}
	for _, n := range layers[i] {
		taken[n.in] = n
	}
	for _, up := range layers[i-1] {
		free := func(x int) bool {
			d := taken[x]
			return d == nil || slices.Contains(up.down, d) && (len(up.down) == 1 || len(d.up) == 1)
		}
		for k := 0; k < up.w; k++ {
			x := up.x + up.w/2 + (k+1)/2*(1-k%2*2)
			if up.ghost() || free(up.out) {
				break
			}
			if up.inside(x) && free(x) {
				up.out = x
			}
		}
	}
}

// inside reports whether an edge can meet the box in this column.
func (n *gnode) inside(x int) bool { return x == n.x && n.ghost() || x > n.x && x < n.x+n.w-1 }

// The four ways out of a cell of the drawing, as bits.
const (
	north = 1 << iota
	south
	west
	east
)

// lineGlyphs are the characters that join the ways, by their bits.
var lineGlyphs = [16]rune{' ', '│', '│', '│', '─', '┘', '┐', '┤', '─', '└', '┌', '├', '─', '┴', '┬', '┼'}

// canvas is a drawing: the ways through each cell, and text on top.
type canvas struct {
	ways [][]uint8
	text [][]rune
	cols int
}

func (c *canvas) grow(rows int) {
	for len(c.ways) < rows {
		c.ways = append(c.ways, make([]uint8, c.cols))
		c.text = append(c.text, make([]rune, c.cols))
	}
}

func (c *canvas) vertical(x, from, to int) {
	for y := from; y < to; y++ {
		c.ways[y][x] |= south
		c.ways[y+1][x] |= north
	}
}

func (c *canvas) horizontal(y, from, to int) {
	for x := from; x < to; x++ {
		c.ways[y][x] |= east
		c.ways[y][x+1] |= west
	}
}

func (c *canvas) write(x, y int, text string) {
	for _, r := range text {
		w := runeWidth(r)
		if w == 0 || x+w > c.cols {
			continue
		}
		c.text[y][x] = r
		for k := 1; k < w; k++ {
			c.text[y][x+k] = -1 // covered by the wide character
		}
		x += w
	}
}

func (c *canvas) String(ascii bool) string {
	var b, line strings.Builder
	for y := range c.ways {
		line.Reset()
		for x := range c.cols {
			switch r := c.text[y][x]; {
			case r > 0:
				line.WriteRune(r)
			case r < 0:
			case !ascii:
				line.WriteRune(lineGlyphs[c.ways[y][x]])
			default:
				switch w := c.ways[y][x]; {
				case w == 0:
					line.WriteByte(' ')
				case w&(north|south) == 0:
					line.WriteByte('-')
				case w&(west|east) == 0:
					line.WriteByte('|')
				default:
					line.WriteByte('+')
				}
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// net is everything that leaves one node downwards: it shares a track.
type net struct {
	from     *gnode
	low, top int // columns that its track covers
	track    int // -1: straight down
}

// joins reports whether both lead to the same boxes: then they may share a
// track without a word of the drawing becoming untrue.
func (t *net) joins(o *net) bool {
	return len(t.from.down) == len(o.from.down) &&
		!slices.ContainsFunc(t.from.down, func(d *gnode) bool { return !slices.Contains(o.from.down, d) })
}

// nets finds a track for each node of a layer that has something below it.
func nets(layer []*gnode) (list []*net, tracks int) {
	for _, n := range layer {
		if len(n.down) == 0 {
			continue
		}
		t := &net{from: n, low: n.out, top: n.out}
		for _, d := range n.down {
			t.low, t.top = min(t.low, d.in), max(t.top, d.in)
		}
		list = append(list, t)
	}
	// A net must turn above another one that arrives where this one leaves:
	// otherwise their uprights would lie on each other.
	above := func(a, b *net) bool {
		return a != b && slices.ContainsFunc(b.from.down, func(d *gnode) bool {
			return d.in == a.from.out && !slices.Contains(a.from.down, d)
		})
	}
	slices.SortStableFunc(list, func(a, b *net) int {
		switch {
		case above(a, b) && !above(b, a):
			return -1
		case above(b, a) && !above(a, b):
			return 1
		}
		return 0
	})
	var used [][]*net
	for _, t := range list {
		if t.low == t.top {
			t.track = -1
			continue
		}
		first := 0
		for k, row := range used {
			if slices.ContainsFunc(row, func(o *net) bool { return above(o, t) }) {
				first = k + 1
			}
		}
		for t.track = first; ; t.track++ {
			if t.track == len(used) {
				used = append(used, nil)
			}
			if !slices.ContainsFunc(used[t.track], func(o *net) bool {
				return t.low <= o.top+1 && o.low <= t.top+1 && !t.joins(o)
			}) {
				used[t.track] = append(used[t.track], t)
				break
			}
		}
	}
	return list, len(used)
}

// render draws the placed layers.
func render(layers [][]*gnode, cols int, s style) string {
	c := &canvas{cols: cols}
	y := 0
	for i, layer := range layers {
		height := 1
		for _, n := range layer {
			if !n.ghost() {
				height = max(height, len(n.lines)+2)
			}
		}
		list, tracks := nets(layer)
		last := i == len(layers)-1
		c.grow(y + height + tracks + 2)
		bottom := y + height - 1 // the row in which edges begin
		for _, n := range layer {
			if n.ghost() {
				c.vertical(n.x, y, bottom)
				continue
			}
			end := y + len(n.lines) + 1
			c.horizontal(y, n.x, n.x+n.w-1)
			c.horizontal(end, n.x, n.x+n.w-1)
			c.vertical(n.x, y, end)
			c.vertical(n.x+n.w-1, y, end)
			for k, l := range n.lines {
				c.write(n.x+2, y+1+k, l)
			}
			if len(n.down) > 0 {
				c.vertical(n.out, end, bottom)
			}
		}
		next := bottom + tracks + 1
		if last {
			y = bottom + 1
			break
		}
		for _, t := range list {
			row := bottom + 1 + max(t.track, 0)
			c.vertical(t.from.out, bottom, row)
			if t.track >= 0 {
				c.horizontal(row, t.low, t.top)
			}
			for _, d := range t.from.down {
				c.vertical(d.in, row, next)
			}
		}
		// Where an upright of one net passes the track of another, it goes over it:
		// the two do not meet.
		for _, t := range list {
			for _, o := range list {
				if o == t || o.track < 0 {
					continue
				}
				over := func(x, from, to int) {
					if row := bottom + 1 + o.track; row > from && row < to && x > o.low && x < o.top && c.ways[row][x] == north|south|west|east {
						c.ways[row][x] = north | south
					}
				}
				turn := bottom + 1 + max(t.track, 0)
				if !slices.ContainsFunc(o.from.down, func(d *gnode) bool { return d.in == t.from.out }) && o.from.out != t.from.out {
					over(t.from.out, bottom, turn)
				}
				for _, d := range t.from.down {
					if !slices.Contains(o.from.down, d) && o.from.out != d.in {
						over(d.in, turn, next)
					}
				}
			}
		}
		y = next
		c.grow(y + 1)
	}
	c.ways, c.text = c.ways[:y], c.text[:y]
	return c.String(s.ascii)
}

// listGraph is what is shown of a graph that does not fit: its layers, each
// job with what it needs.
func listGraph(jobs []graphJob, s style) string {
	index := make(map[string]int, len(jobs))
	for i, j := range jobs {
		index[j.ID] = i
	}
	needs := reduced(jobs, index)
	level := make([]int, len(jobs))
	var rank func(i int) int
	rank = func(i int) int {
		if level[i] == 0 {
			level[i] = 1
			for _, n := range needs[i] {
				level[i] = max(level[i], rank(n)+1)
			}
		}
		return level[i]
	}
	deepest, widest := 0, 0
	for i, j := range jobs {
		deepest, widest = max(deepest, rank(i)), max(widest, min(width(shown(j.Label)), maxGraphLabel))
	}
	var b strings.Builder
	for l := 1; l <= deepest; l++ {
		for i, j := range jobs {
			if level[i] != l {
				continue
			}
			b.WriteString(s.dim(pad(strconv.Itoa(l), len(strconv.Itoa(deepest)))) + "  ")
			label := clip(shown(j.Label), maxGraphLabel, s.ellipsis())
			if len(needs[i]) == 0 {
				b.WriteString(label + "\n")
				continue
			}
			names := make([]string, len(needs[i]))
			for k, n := range needs[i] {
				names[k] = shown(jobs[n].ID)
			}
			b.WriteString(pad(label, widest) + "  " + s.dim(s.pick("←", "<-")+" "+strings.Join(names, ", ")) + "\n")
		}
	}
	return b.String()
}
