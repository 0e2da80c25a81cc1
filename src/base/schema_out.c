#include "base/schema.h"
