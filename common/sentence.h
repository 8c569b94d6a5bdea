#pragma once
// What a person reads of an exception.
//
// A kj::Exception's description is made for the log: the condition that did not hold, the sentence, then each value with
// the expression that it came from ("expected n > 0; from 1 to 64 stores; shape.stores = 0"). A person
// needs the sentence and the values: "from 1 to 64 stores: 0".
//
// Thread: any.

#include <kj/exception.h>
#include <kj/string.h>

#include <string>

namespace dfs {

std::string sentenceOf(const kj::Exception& exception);
std::string sentenceOf(kj::StringPtr description);

}  // namespace dfs
