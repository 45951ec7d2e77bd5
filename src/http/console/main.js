// The console: wires its parts together.

import * as live from "./live.js";
import * as poll from "./poll.js";
import { follows, watch } from "./status.js";

live.onAnswer((answer, isFirst) => {
  poll.sawVersion(answer.version);
  if (isFirst) follows(answer.reset);
});
poll.start();
live.start();
watch();
