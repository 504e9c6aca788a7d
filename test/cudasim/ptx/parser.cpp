#include "ptx/parser.h"

#include <algorithm>
#include <map>

#include "ptx/operand_parser.h"
#include "ptx/scanner.h"
#include "ptx/types.h"

namespace cudasim::ptx {
namespace {

constexpr std::string_view kOpcode = ".:";

class Parser {
 public:
  explicit Parser(std::string_view text) : in_(text), operands_(in_) {}

  Module parse() {
    while (!in_.atEnd()) {
      if (in_.peek() != '.') in_.fail("expected a directive");
      topLevel(in_.word("."));
    }
    return std::move(module_);
  }

 private:
  void topLevel(const std::string& directive) {
    if (directive == ".version" || directive == ".address_size") {
      in_.word(".");
    } else if (directive == ".target") {
      target();
    } else if (directive == ".file") {
      file();
    } else if (directive == ".section") {
      in_.word(".");
      in_.expect('{');
      in_.until('}');
    } else if (directive == ".loc") {
      location();
    } else if (directive == ".extern" || directive == ".visible" || directive == ".weak" || directive == ".common") {
      extern_ = directive == ".extern";
      if (in_.peek() != '.') in_.fail("expected a directive after " + directive);
      topLevel(in_.word("."));
      extern_ = false;
    } else if (directive == ".entry" || directive == ".func") {
      function(directive == ".entry");
    } else if (directive == ".pragma") {
      in_.until(';');
    } else {
      declareVariable(directive.substr(1), module_.variables);
    }
  }

  void target() {
    const std::string name = in_.word();  // sm_90a
    if (name.rfind("sm_", 0) != 0) in_.fail("unknown target " + name);
    module_.target = std::atoi(name.c_str() + 3);
    module_.targetIsSpecific = !std::isdigit(static_cast<unsigned char>(name.back()));
    while (in_.accept(',')) in_.word();
  }

  void file() {
    const size_t index = std::stoul(in_.word());
    if (module_.files.size() <= index) module_.files.resize(index + 1);
    module_.files[index] = in_.quoted();
    while (in_.accept(',')) in_.word();
  }

  void location() {
    const int file = std::stoi(in_.word());
    const int line = std::stoi(in_.word());
    in_.word();  // column
    if (line != 0) source_ = {file, line};
    while (in_.accept(',')) {
      if (in_.word() == "inlined_at") {
        in_.word(), in_.word(), in_.word();
      } else {
        in_.word("+");
      }
    }
    if (in_.accept('+')) in_.word();  // function_name $L__info_string0+12
    if (in_.accept(',')) in_.word(), in_.word(), in_.word(), in_.word();
  }

  void function(bool isKernel) {
    Function made;
    made.isKernel = isKernel;
    if (in_.peek() == '(') parameters(made.results);
    made.name = in_.word();
    if (in_.peek() == '(') parameters(made.parameters);
    while (in_.peek() == '.') attribute(made);
    if (!in_.accept(';')) {
      made.isDefined = true;
      body(made);
    }
    module_.functions.push_back(std::move(made));
  }

  void attribute(Function& made) {
    const std::string name = in_.word(".");
    std::vector<uint32_t> values;
    if (std::isdigit(static_cast<unsigned char>(in_.peek()))) {
      do values.push_back(static_cast<uint32_t>(std::stoul(in_.word())));
      while (in_.accept(','));
    }
    if (name == ".maxntid" || name == ".reqntid") {
      made.maxThreads = 1;
      for (const uint32_t value : values) made.maxThreads *= value;
    } else if (name == ".reqnctapercluster") {
      for (size_t i = 0; i < 3; ++i) made.cluster[i] = i < values.size() ? values[i] : 1;
    } else if (name == ".pragma") {
      in_.until(';');
    }
  }

  void parameters(std::vector<Variable>& list) {
    in_.expect('(');
    while (!in_.accept(')')) {
      const std::string space = in_.word(".");
      if (space != ".param" && space != ".reg") in_.fail("expected a parameter, found " + space);
      list.push_back(declarator("param"));
      in_.accept(',');
    }
  }

  /** `.align 4 .b8 name[24] = {1, 2}` after the state space, to its end, which is not consumed. */
  Variable declarator(const std::string& space) {
    Variable made;
    made.space = space;
    made.isExtern = extern_;
    uint64_t vector = 1;
    std::optional<Type> type;
    while (in_.peek() == '.') {
      const std::string word = in_.word(".").substr(1);
      if (word == "align") {
        made.align = std::stoull(in_.word());
      } else if (word == "v2" || word == "v4") {
        vector = word == "v2" ? 2 : 4;
      } else if (word == "attribute") {
        in_.until(')');
      } else if (const auto named = typeNamed(word)) {
        type = named;
      } else if (word != "ptr" && word != "global" && word != "const" && word != "shared" && word != "local") {
        in_.fail("unknown word ." + word + " in a declaration");
      }
    }
    if (!type) in_.fail("a declaration without a type");
    made.name = in_.word();
    const uint64_t element = sizeOf(*type) * vector;
    made.align = std::max(made.align, element);
    made.size = element;
    while (in_.accept('[')) {
      const std::string count = in_.word();
      in_.expect(']');
      made.size *= count.empty() ? 0 : std::stoull(count, nullptr, 0);
    }
    if (in_.accept('=')) operands_.initialiser(made, element);
    return made;
  }

  void declareVariable(const std::string& space, std::vector<Variable>& list) {
    static const std::vector<std::string> spaces{"global", "const", "shared", "local", "param"};
    if (std::find(spaces.begin(), spaces.end(), space) == spaces.end()) in_.fail("unknown directive ." + space);
    do list.push_back(declarator(space));
    while (in_.accept(','));
    in_.expect(';');
  }

  void declareRegisters(Scope& scope) {
    RegisterDeclaration made;
    made.type = in_.word(".").substr(1);
    do {
      made.name = in_.word();
      made.family = in_.accept('<');
      if (made.family) in_.until('>');
      scope.registers.push_back(made);
    } while (in_.accept(','));
    in_.expect(';');
  }

  void body(Function& made) {
    std::vector<int> open;
    const auto enter = [&] {
      made.scopes.emplace_back().parent = open.empty() ? -1 : open.back();
      open.push_back(static_cast<int>(made.scopes.size()) - 1);
    };
    in_.expect('{');
    enter();
    while (!open.empty()) {
      const char next = in_.peek();
      if (next == 0) in_.fail("the body of " + made.name + " does not end");
      if (in_.accept('{')) {
        enter();
      } else if (in_.accept('}')) {
        open.pop_back();
      } else if (in_.accept(';')) {
        continue;
      } else if (next == '.') {
        bodyDirective(made.scopes[static_cast<size_t>(open.back())], in_.word("."));
      } else {
        statement(made, open.back());
      }
    }
  }

  void bodyDirective(Scope& scope, const std::string& directive) {
    if (directive == ".reg") {
      declareRegisters(scope);
    } else if (directive == ".loc") {
      location();
    } else if (directive == ".pragma") {
      in_.until(';');
    } else {
      declareVariable(directive.substr(1), scope.variables);
    }
  }

  void label(const Function& made, Scope& scope, const std::string& name) {
    const std::string directive = in_.peek() == '.' ? in_.word(".") : "";
    if (directive == ".branchtargets") {
      BranchTargets& targets = scope.branchTargets.emplace_back();
      targets.name = name;
      do targets.labels.push_back(in_.word());
      while (in_.accept(','));
      in_.expect(';');
      return;
    }
    scope.labels.push_back({name, made.body.size()});
    if (!directive.empty()) bodyDirective(scope, directive);
  }

  void statement(Function& made, int scopeIndex) {
    Scope& scope = made.scopes[static_cast<size_t>(scopeIndex)];
    Instruction read;
    read.scope = scopeIndex;
    read.source = source_;
    if (in_.accept('@')) {
      read.guardNegated = in_.accept('!');
      read.guard = in_.word();
    }
    std::string opcode = in_.word();
    read.line = in_.line();
    if (opcode.empty()) in_.fail(std::string("unexpected '") + in_.peek() + "'");
    opcode += in_.rest(kOpcode);
    if (opcode.back() == ':') {
      opcode.pop_back();
      label(made, scope, opcode);
      return;
    }
    read.form = opcode;
    for (size_t begin = 0; begin <= opcode.size();) {
      const size_t end = std::min(opcode.find('.', begin), opcode.size());
      read.parts.push_back(opcode.substr(begin, end - begin));
      begin = end + 1;
    }
    if (!in_.accept(';')) {
      do read.operands.push_back(operands_.operand());
      while (in_.accept(','));
      in_.expect(';');
    }
    made.body.push_back(std::move(read));
  }

  Scanner in_;
  OperandParser operands_;
  Module module_;
  SourceLine source_;
  bool extern_ = false;
};

}  // namespace

Module parse(std::string_view text) { return Parser(text).parse(); }

}  // namespace cudasim::ptx
