package harvest
import ("testing";"fmt";"os";"strings";"path/filepath")
func TestDump(t *testing.T){
 for _, f := range strings.Fields(os.Getenv("DUMP")) {
  m,_:=filepath.Glob("/work/shared/corpus/testreports/"+f)
  for _,p:=range m { if strings.Contains(p,".oracle.") {continue}
  g,r,err:=readAll(p)
  fmt.Println("##",filepath.Base(p),r.Format,"pass",r.Passed,"fail",r.Failed,"skip",r.Skipped,"flaky",r.Flaky,"sec",r.Seconds,r.Salvaged,err)
  for i:=range min(len(g),4){x:=g[i]; fmt.Printf("   %s a%d [%s] %q <%s> {%s} %gs %s:%d msg=%.60q type=%q stack=%d out=%d tags=%v own=%s att=%v\n", x.Status,x.Attempt,x.Suite,x.Groups,x.Name,x.Params,x.Seconds,x.File,x.Line,x.Message,x.Type,len(x.Stack),len(x.Output),x.Tags,x.Owner,x.Attachments)}
 }}
}
