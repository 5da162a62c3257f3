import sys

from gradwire_server.main import main

sys.exit(main())
