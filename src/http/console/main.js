// The console: connects its parts.

import * as live from "./live.js";
import * as poll from "./poll.js";
import { follows, watch } from "./status.js";

live.onResponse((response, isFirst) => {
  poll.setNewest(response.version);
  if (isFirst) follows(response.reset);
});
poll.start();
live.start();
watch();
